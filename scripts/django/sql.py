"""Runs statements: sql.py DATABASE_URL STATEMENT..."""

import sys
from urllib.parse import unquote, urlsplit

url = urlsplit(sys.argv[1])
if url.scheme.startswith("postgres"):
    import psycopg

    connection = psycopg.connect(sys.argv[1], autocommit=True)
else:
    import pymysql

    connection = pymysql.connect(host=url.hostname, port=url.port, user=unquote(url.username), password=unquote(url.password), autocommit=True)
with connection, connection.cursor() as cursor:
    for statement in sys.argv[2:]:
        cursor.execute(statement)
