package mysql

import "strings"

// Grants is the SQL of a user that may do just what tailing needs.
func (c Config) Grants(mariadb bool) string {
	user, db := "waltrigger", "…"
	if a, err := parseURL(c.URL); err == nil {
		user = a.user
		if a.db != "" {
			db = quote(a.db)
		}
	}
	account := "'" + strings.ReplaceAll(user, "'", "''") + "'@'%'"
	log := "REPLICATION SLAVE, REPLICATION CLIENT"
	if mariadb {
		log = "REPLICATION SLAVE, BINLOG MONITOR"
	}
	return `-- Source ` + c.Name + `: run as an administrator.
CREATE USER IF NOT EXISTS ` + account + ` IDENTIFIED BY '…';
GRANT ` + log + ` ON *.* TO ` + account + `; -- the binary log
GRANT SELECT ON ` + db + `.* TO ` + account + `; -- what tables look like, and related rows; for each database with triggers
`
}
