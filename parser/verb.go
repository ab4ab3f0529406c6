package parser

// Verb is an FTP command's name.
type Verb uint8

// The commands that change what a session is or which data connection comes
// next. All the others that FTP knows are Other; what FTP does not know is
// Unknown. OPEN is none of FTP's: a client tells a proxy with it where to connect
// to, and speaks FTP afterwards.
const (
	Unknown Verb = iota
	USER
	PASS
	ACCT
	REIN
	QUIT
	PORT
	EPRT
	PASV
	EPSV
	AUTH
	ADAT
	CCC
	ABOR
	HOST
	RETR
	STOR
	STOU
	APPE
	LIST
	NLST
	MLSD
	MLST // answered on the control connection (RFC 3659 7)
	Other
	OPEN
)

// String gives the command as it is written on the wire, "OTHER" or "UNKNOWN".
func (v Verb) String() string {
	switch v {
	case USER:
		return "USER"
	case PASS:
		return "PASS"
	case ACCT:
		return "ACCT"
	case REIN:
		return "REIN"
	case QUIT:
		return "QUIT"
	case PORT:
		return "PORT"
	case EPRT:
		return "EPRT"
	case PASV:
		return "PASV"
	case EPSV:
		return "EPSV"
	case AUTH:
		return "AUTH"
	case ADAT:
		return "ADAT"
	case CCC:
		return "CCC"
	case ABOR:
		return "ABOR"
	case HOST:
		return "HOST"
	case RETR:
		return "RETR"
	case STOR:
		return "STOR"
	case STOU:
		return "STOU"
	case APPE:
		return "APPE"
	case LIST:
		return "LIST"
	case NLST:
		return "NLST"
	case MLSD:
		return "MLSD"
	case MLST:
		return "MLST"
	case Other:
		return "OTHER"
	case OPEN:
		return "OPEN"
	}
	return "UNKNOWN"
}

// Known says whether FTP has a command of this name: a client whose lines
// are not known does not speak FTP. OPEN is not: it alone shows nothing.
func (v Verb) Known() bool { return v > Unknown && v <= Other }

// Transfer says whether the command uses a data connection.
func (v Verb) Transfer() bool {
	switch v {
	case RETR, STOR, STOU, APPE, LIST, NLST, MLSD:
		return true
	}
	return false
}

// path says whether the argument is a pathname.
func (v Verb) path() bool { return v.Transfer() || v == MLST }

// longest is the length of the longest name that verbOf knows.
const longest = len("XSHA256")

// verbOf finds the verb of a name in upper case.
func verbOf(name []byte) Verb {
	switch string(name) {
	case "USER":
		return USER
	case "PASS":
		return PASS
	case "ACCT":
		return ACCT
	case "REIN":
		return REIN
	case "QUIT":
		return QUIT
	case "PORT":
		return PORT
	case "EPRT":
		return EPRT
	case "PASV", "P@SW": // vsftpd takes the second for the first
		return PASV
	case "EPSV":
		return EPSV
	case "AUTH":
		return AUTH
	case "ADAT":
		return ADAT
	case "CCC":
		return CCC
	case "ABOR":
		return ABOR
	case "HOST":
		return HOST
	case "RETR":
		return RETR
	case "STOR":
		return STOR
	case "STOU":
		return STOU
	case "APPE":
		return APPE
	case "LIST":
		return LIST
	case "NLST":
		return NLST
	case "MLSD":
		return MLSD
	case "MLST":
		return MLST
	case "OPEN":
		return OPEN
	case "CWD", "CDUP", "SMNT", "TYPE", "STRU", "MODE", "ALLO", "REST", "RNFR", "RNTO",
		"DELE", "RMD", "MKD", "PWD", "SITE", "SYST", "STAT", "HELP", "NOOP", // RFC 959 4.1
		"XCWD", "XMKD", "XPWD", "XRMD", "XCUP", // RFC 775, RFC 1123 4.1.3.1
		"LPRT", "LPSV", // RFC 1639
		"PBSZ", "PROT", "MIC", "CONF", "ENC", // RFC 2228 3
		"FEAT", "OPTS", // RFC 2389
		"LANG",         // RFC 2640
		"MDTM", "SIZE", // RFC 3659
		"MFMT", "MFCT", "MFF", // draft-somers-ftp-mfxx
		"HASH", "RANG", // draft-bryan-ftp-hash, -range
		"XCRC", "XMD5", "XSHA", "XSHA1", "XSHA256", "XSHA512", "MD5", "MMD5",
		"AVBL", "CLNT", "COMB", "CPSV", "CSID", "DSIZ", "MACB", "PRET", "RMDA", "SPSV", "SSCN", "THMB", "XDUPE":
		return Other
	}
	return Unknown
}
