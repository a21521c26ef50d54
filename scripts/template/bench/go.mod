module github.com/waltrigger/waltrigger/scripts/template/bench

go 1.26.0

require (
	github.com/flosch/pongo2/v6 v6.0.0
	github.com/waltrigger/waltrigger v0.0.0
)

require golang.org/x/text v0.43.0 // indirect

replace github.com/waltrigger/waltrigger => ../../..
