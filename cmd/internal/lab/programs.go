package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// url writes a host the way a URL wants it.
func url(host netip.Addr, path string) string {
	if host.Is6() {
		return "ftp://[" + host.String() + "]/" + path
	}
	return "ftp://" + host.String() + "/" + path
}

// natural is what clients do that have no switch for it: plain in IPv4,
// extended in IPv6.
func natural(v Variant, _ Op) bool { return v.Extended == (v.Family == 6) }

func curl() Program {
	return Program{
		Name: "curl",
		can:  func(Variant, Op) bool { return true },
		line: func(v Variant, op Op, host netip.Addr, name string) ([]string, string) {
			args := []string{"curl", "-sSg"}
			switch {
			case v.Active && v.Extended:
				args = append(args, "--ftp-port", "-")
			case v.Active:
				args = append(args, "--ftp-port", "-", "--disable-eprt")
			case !v.Extended:
				args = append(args, "--disable-epsv")
			}
			switch op {
			case Download:
				return append(args, "-o", "got", url(host, "small.bin")), ""
			case Upload:
				return append(args, "-T", "src", url(host, "upload/"+name)), ""
			}
			return append(args, url(host, "")), ""
		},
	}
}

func lftp() Program {
	return Program{
		Name: "lftp",
		// PORT and EPRT follow the family, EPSV can be had in both.
		can: func(v Variant, op Op) bool { return natural(v, op) || !v.Active },
		line: func(v Variant, op Op, host netip.Addr, name string) ([]string, string) {
			do := map[Op]string{
				Download: "get small.bin -o got",
				Upload:   "put src -o upload/" + name,
				List:     "cls -1",
			}[op]
			return []string{"lftp", "-c", fmt.Sprintf(
				"set net:max-retries 1; set ftp:passive-mode %t; set ftp:prefer-epsv %t; open %s; %s",
				!v.Active, v.Extended, url(host, ""), do)}, ""
		},
	}
}

func wget() Program {
	return Program{
		Name: "wget",
		can:  func(v Variant, op Op) bool { return op != Upload && natural(v, op) },
		line: func(v Variant, op Op, host netip.Addr, _ string) ([]string, string) {
			args := []string{"wget", "-nv", "--tries=1", "-O", "got"}
			if v.Active {
				args = append(args, "--no-passive-ftp")
			}
			path := "small.bin"
			if op == List {
				path = ""
			}
			return append(args, url(host, path)), ""
		},
	}
}

// ncftp knows IPv4 only, and neither EPSV nor EPRT.
func ncftp() Program {
	return Program{
		Name: "ncftp",
		can:  func(v Variant, _ Op) bool { return v.Family == 4 && !v.Extended },
		line: func(v Variant, op Op, host netip.Addr, name string) ([]string, string) {
			mode := "-F"
			if v.Active {
				mode = "-E"
			}
			switch op {
			case Download:
				return []string{"ncftpget", "-V", mode, "-C", host.String(), "small.bin", "got"}, ""
			case Upload:
				return []string{"ncftpput", "-V", mode, "-C", host.String(), "src", "upload/" + name}, ""
			}
			return []string{"ncftpls", mode, "-l", url(host, "")}, "" // not every server knows NLST with options
		},
	}
}

func tnftp() Program {
	return Program{
		Name: "tnftp",
		can:  func(Variant, Op) bool { return true },
		line: func(v Variant, op Op, host netip.Addr, name string) ([]string, string) {
			mode, extended := "-p", "off"
			if v.Active {
				mode = "-A"
			}
			if v.Extended {
				extended = "on"
			}
			input := fmt.Sprintf("epsv%d %s\n", v.Family, extended)
			return []string{"tnftp", mode, "-a", "-i", "-v", host.String()}, input + classic(op, name)
		},
	}
}

// inetutils is the classic command-line client.
func inetutils() Program {
	return Program{
		Name: "inetutils-ftp",
		can:  natural,
		line: func(v Variant, op Op, host netip.Addr, name string) ([]string, string) {
			mode := "-p"
			if v.Active {
				mode = "-A"
			}
			return []string{"inetutils-ftp", mode, "-d", "-n", "-v", "-i", host.String()},
				"user anonymous test@example.com\n" + classic(op, name)
		},
	}
}

// classic is what is typed at the prompt of an ftp program.
func classic(op Op, name string) string {
	do := map[Op]string{
		Download: "get small.bin got",
		Upload:   "put src upload/" + name,
		List:     "nlist",
	}[op]
	return "binary\n" + do + "\nquit\n"
}

func ftplib() Program {
	const script = `
import ftplib, sys
host, active, op, name = sys.argv[1:]
ftp = ftplib.FTP(host)
ftp.login()
ftp.set_pasv(active != "true")
if op == "download":
    with open("got", "wb") as file:
        ftp.retrbinary("RETR small.bin", file.write)
elif op == "upload":
    with open("src", "rb") as file:
        ftp.storbinary("STOR upload/" + name, file)
else:
    print("\n".join(ftp.nlst()))
ftp.quit()
`
	return Program{
		Name: "ftplib",
		can:  natural,
		line: func(v Variant, op Op, host netip.Addr, name string) ([]string, string) {
			// Debian's own Python, whatever else is in the path.
			return []string{"/usr/bin/python3", "-c", strings.TrimSpace(script),
				host.String(), fmt.Sprint(v.Active), string(op), name}, ""
		},
	}
}
