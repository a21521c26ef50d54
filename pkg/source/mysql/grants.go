package mysql

import "strings"

// Grants is the SQL of a user that may do just what tailing needs; both products take it.
func (c Config) Grants() string {
	user, db := "waltrigger", "…"
	if a, err := parseURL(c.URL); err == nil {
		user = a.user
		if a.db != "" {
			db = quote(a.db)
		}
	}
	account := "'" + strings.ReplaceAll(user, "'", "''") + "'@'%'"
	return `-- Source ` + c.Name + `: run as an administrator.
CREATE USER IF NOT EXISTS ` + account + ` IDENTIFIED BY '…';
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO ` + account + `; -- the binary log
GRANT SELECT ON ` + db + `.* TO ` + account + `; -- what tables look like, and related rows; for each database with triggers
`
}
