// Package conntrack follows FTP control sessions: it puts the bytes of each
// direction in order, matches replies to commands, and says which data
// channel client and server have agreed on (RFC 959, 1123, 2428, 4217).
//
// It does no I/O and takes the time as an argument, so that live packets, a
// capture file and a test drive the same code. It does not assume that it
// holds every packet of a session, nor that the packet in hand is the newest.
//
// # The agreement
//
// Replies are matched to commands in their order. A reply is the final line of
// one (RFC 959 4.2); 1xx answers nothing yet. TestLaw5 goes through this table,
// and fails when a row of it has no dialogue there.
//
//	state                    event                        effect
//	not greeted              220                          greeted
//	                         230, 200                     greeted and logged in: no login is wanted
//	                         1xx                          none
//	                         another reply, or garbage    not FTP: nothing opens, ever
//	no client line yet       an FTP command               speaks FTP
//	                         OPEN                         none: the next line is the first
//	                         anything else (HTTP, SMTP,   not FTP: nothing opens, ever
//	                         SSH, TLS, overlong)
//	                         bytes missed                 nothing opens, ever
//	greeted by 230, 200,     PORT, EPRT, if one was the   denied, not_logged_in
//	or begun with OPEN; no   client's first command
//	login since
//	not logged in            230, 232 to USER; to PASS,   logged in
//	                         ACCT if USER was answered
//	                         another 2xx to USER, to PASS logged in; 220 to USER, 221, 225, 226: none
//	                         behind USER's 3xx, to ACCT
//	                         behind 332
//	                         the same while others wait,  none
//	                         if a line was not text and
//	                         CR LF, or once out of step
//	                         the same behind others not   none
//	                         answered, passed over, or
//	                         forgotten out of step
//	                         any other 2xx to PASS, ACCT  none
//	                         331, 332; 220 to HOST        none
//	                         PORT, EPRT, 227, 229         denied, not_logged_in
//	logged in                USER: 2xx, 3xx, 530          pinholes shut, logged out; a login: in again
//	                         PASS, ACCT: 530              pinholes shut, logged out
//	                         OPEN: 2xx, 3xx, 530          pinholes shut, logged out
//	                         REIN: 2xx                    pinholes shut, logged out, EPSV ALL over
//	                         QUIT: 2xx; any 421           pinholes shut, nothing opens any more
//	                         any of these without answer  none
//	                         data that flows              goes on
//	PASV outstanding         227 to it                    opens, in the place of what was open
//	EPSV outstanding         229 to it                    opens, likewise
//	EPSV outstanding alone   227 to it                    opens, likewise
//	either                   225, 226, 250, 426           the transfer's before: still outstanding
//	                         4xx, 5xx, 229 to PASV,       outstanding no more
//	                         another 2xx, 3xx
//	PASV, EPSV behind        227, 229, if the client had  opens, inferred
//	commands not answered    all of the server's when it
//	                         asked
//	                         227, 229, if it had not, or  denied, out_of_step; in step again
//	                         USER, PASS, ACCT, REIN,
//	                         QUIT, AUTH, ADAT, OPEN, EPSV
//	                         ALL or none of FTP's is one
//	                         another 2xx, 3xx after that  to one of those: none
//	USER, PASS, ACCT, QUIT   331; 332; 230, 232; 221, if  to it, the others passed over
//	behind commands without  the client had all of the
//	effect, not answered     server's when it asked
//	PORT, a transfer behind  125, 150                     PORT agreed to, the others passed over
//	commands not answered
//	a transfer that runs,    2xx, 3xx but 225, 226, 250   to what was sent behind it
//	another command
//	a reply in parts open    227, 229 asked for, if the   denied, out_of_step
//	                         client goes on before its
//	                         end
//	none outstanding         227, 229 with an endpoint    denied, unrequested
//	logged in                PORT, EPRT                   opens at once, in the place of what was open
//	  a transfer waits       PORT, EPRT                   opens beside; its 2xx shuts the former
//	  wait_for_2xx           PORT, EPRT                   opens with its 2xx
//	PORT, EPRT outstanding   4xx, 5xx to it               shut, refused, unless data flows
//	transfer outstanding     its pinhole's time ends      waits on, up to its longest time
//	EPSV ALL outstanding     2xx to it                    PORT, EPRT, PASV denied, epsv_all
//	any                      234, 235 (AUTH, ADAT)        pinholes shut, blind
//	blind                    TLS records                  passed over
//	                         clear text after a record    as joined (CCC, RFC 4217 12.3)
//	                         anything else                blind for good
//	any                      ABOR: 226                    pinholes shut, but PORT's behind it
//	                         ABOR: 225                    none
//	                         ABOR, blank line unanswered  passed over with the next reply
//	                         227, 229 of the client;      denied, unrequested
//	                         PORT, EPRT of the server
//	                         bytes missed, too many       out of step: outstanding is forgotten
//	                         commands outstanding; those
//	                         without effect in a row
//	                         count as one, up to 1,000
//	out of step              a command while the client   in step with its reply
//	                         has all that the server sent
//	joined in the middle     PORT, EPRT                   denied, out_of_step: they never prove FTP
//	                         another command answered     opens as if logged in; so does its 227, 229
//	                         USER, 220, 331, 332, 530     logged out
//	joined or once out of    227, 229                     inferred: to a denied port denied, denied_port
//	step, and in step again
//
// The first line after bytes that were missed may have begun among them. It is the
// end of one line, so it counts as one command, or as one reply if the client had
// asked in a quiet moment, the server has that, and nothing follows. It opens
// nothing, and what it negotiates is denied.
//
// # Forgotten by conntrack
//
// A flush, a timeout or another gateway can make conntrack forget a session that
// is alive; its next packet is picked up as a new connection. The session is kept,
// with all that is known of it (not FTP, logged in or not, TLS), and goes on when
// a packet has both of its numbers exactly: what comes next, and what the other
// side has sent. conntrack is asked for its translation before the next one is
// read: with another, it is not the same session. What does not go on is denied,
// out_of_step, when it negotiates.
//
// # Known before a restart
//
// Known is what a next daemon is told of each session: not FTP, not logged in, TLS,
// and also that it speaks FTP and is logged in, so that its next PORT opens. It is
// for the session whose sequence numbers go on from those that were kept; that a
// client's do not is no proof, the server's have to differ. One that was not logged
// in is so until it logs in, or until the server's answer to another command shows
// that it has (257, 213, the end of a transfer).
//
// # Translation
//
// Where the gateway translates a session's addresses (NAT), an endpoint that
// one side names is rewritten to what the other side can reach, once its pinhole
// is in the kernel, if it does not say so already. The same port is taken
// outside if it is free.
//
//	line            names            leaves with
//	PORT, EPRT      the client       the address that the server sees it by
//	227             the server       the address that the client connects to
//	                any (PasvPeer)   the same; in IPv6, which it cannot name, as it came
//	                any (PasvKeep)   as it came
//	PORT, EPRT      any (PortKeep)   as it came
//	229             a port           the outside port, if that is another
//	any             a third host     as it came
//
// A 227 or 229 keeps its length if blanks at its end, or a dot, make up for the
// difference. Else all numbers behind it are shifted: those that sequence.go calls
// the sender's are what conntrack sees, those of the receiver what leaves.
//
//	what comes                           what leaves of a direction that may name endpoints
//	a line in one piece                  the line, rewritten
//	the beginning of such a line         what stands before its argument; the rest is withheld, and
//	                                     acknowledged to its sender when what did leave is
//	its end                              the whole rest, rewritten; or as it came, if nothing opens, it is
//	                                     too long, the kernel fails, or FIN comes
//	a part of it again                   nothing of it, but with its last byte all of it
//	nothing new at all                   the byte before, which is acknowledged at once
//	what is ahead of its turn            the same; TCP sends it again
//	more than the segment can hold       its beginning; TCP sends the rest again
//	a session that is joined, restored,  nothing until the receiver has said what it has
//	or in which bytes were missed
package conntrack
