package conntrack

import "testing"

const (
	port     = "PORT 10,0,1,2,195,80"                        // port 50000 of the client
	entering = "227 Entering Passive Mode (10,0,2,2,195,80)" // port 50000 of the server
	extended = "229 Entering Extended Passive Mode (|||50000|)"
)

// TestLaw5 goes through the table of the package comment, row by row.
func TestLaw5(t *testing.T) {
	performAll(t, []dialogue{
		{name: "passive", script: `
			login
			C: PASV
			S: ` + entering + `
			C: RETR a`,
			want: "open PASV 10.0.2.2:50000"},
		{name: "extended passive", script: `
			login
			C: EPSV
			S: ` + extended,
			want: "open EPSV 10.0.2.2:50000"},
		{name: "active", script: `
			login
			C: ` + port,
			want: "open PORT 10.0.1.2:50000"},
		{name: "extended active", script: `
			login
			C: EPRT |1|10.0.1.2|50000|`,
			want: "open EPRT 10.0.1.2:50000"},
	})
}
