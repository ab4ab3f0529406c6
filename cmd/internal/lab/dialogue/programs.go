package dialogue

// programs are whole sessions as widespread clients and servers write them.
func programs() []Dialogue {
	return []Dialogue{
		{
			Name: "FileZilla with its own server", Why: "FileZilla 3 and FileZilla Server 0.9",
			Steps: []Step{
				s("220-FileZilla Server 0.9.60 beta", "220-written by Tim Kosse (tim.kosse@filezilla-project.org)",
					"220 Please visit https://filezilla-project.org/"),
				c("AUTH TLS"), s("502 Explicit TLS authentication not allowed"),
				c("AUTH SSL"), s("502 Explicit TLS authentication not allowed"),
				c("USER anonymous"), s("331 Password required for anonymous"),
				c("PASS anonymous@example.com"), s("230 Logged on"),
				c("SYST"), s("215 UNIX emulated by FileZilla"),
				c("FEAT"), s("211-Features:", " MDTM", " REST STREAM", " SIZE", " MLST type*;size*;modify*;", " MLSD", " UTF8", " CLNT", " MFMT", " EPSV", " EPRT", "211 End"),
				c("CLNT FileZilla"), s("200 Don't care"),
				c("OPTS UTF8 ON"), s("202 UTF8 mode is always enabled. No need to send this command."),
				c("PWD"), s(`257 "/" is current directory.`),
				c("TYPE I"), s("200 Type set to I"),
				c("PASV"), s("227 Entering Passive Mode ({PASV})"),
				c("MLSD"), s(`150 Opening data channel for directory listing of "/"`),
				opens(Passive, Port), s(`226 Successfully transferred "/"`),
				c("PORT {C},195,136"), s("200 Port command successful"), // set to active in its site manager
				c("RETR a.bin"), s(`150 Opening data channel for file download from server of "/a.bin"`),
				opens(Active, OtherPort), s(`226 Successfully transferred "/a.bin"`),
				c("QUIT"), s("221 Goodbye"),
			},
			Trail: used("PASV 50055", "PORT 50056"),
		},
		{
			Name: "WinSCP with IIS", Why: "WinSCP 5 and Microsoft's FTP service",
			Steps: []Step{
				s("220 Microsoft FTP Service"),
				c("USER anonymous"), s("331 Anonymous access allowed, send identity (e-mail name) as password."),
				c("PASS anonymous@example.com"), s("230 User logged in."),
				c("SYST"), s("215 Windows_NT"),
				c("FEAT"), s("211-Extended features supported:", " LANG EN*", " UTF8", " AUTH TLS;TLS-C;SSL;TLS-P;", " PBSZ", " PROT C;P;", " CCC",
					" HOST", " SIZE", " MDTM", " REST STREAM", "211 END"),
				c("OPTS UTF8 ON"), s("200 OPTS UTF8 command successful - UTF8 encoding now ON."),
				c("PWD"), s(`257 "/" is current directory.`),
				c("CWD /"), s("250 CWD command successful."),
				c("TYPE A"), s("200 Type set to A."),
				c("PASV"), s("227 Entering Passive Mode ({PASV})."),
				c("LIST -a"), s("125 Data connection already open; Transfer starting."),
				opens(Passive, Port), s("226 Transfer complete."),
				c("QUIT"), s("221 Goodbye."),
			},
			Trail: used("PASV 50055"),
		},
		{
			Name: "Windows' ftp.exe with IIS", Why: "it knows active mode only",
			Steps: []Step{
				s("220 Microsoft FTP Service"),
				c("OPTS UTF8 ON"), s("200 OPTS UTF8 command successful - UTF8 encoding now ON."),
				c("USER anonymous"), s("331 Anonymous access allowed, send identity (e-mail name) as password."),
				c("PASS guest@example.com"), s("230 User logged in."),
				c("PORT {PORT}"), s("200 PORT command successful."),
				c("NLST"), s("150 Opening ASCII mode data connection."),
				opens(Active, Port), s("226 Transfer complete."),
				c("QUIT"), s("221 Goodbye."),
			},
			Trail: used("PORT 50055"),
		},
	}
}
