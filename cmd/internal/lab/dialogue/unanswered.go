package dialogue

import "slices"

// unanswered are sessions whose servers leave commands without an answer, answer
// in another way than they were asked, or are sent many commands ahead.
func unanswered() []Dialogue {
	const other = "227 Entering Passive Mode ({S},195,136)."
	first := []Step{c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok")}
	then := func(steps ...Step) []Step {
		return inAndOut(append(slices.Clone(first), append(steps,
			c("PASV"), s(other), c("RETR b"), opens(Passive, OtherPort), s("150 ok"), s("226 ok"))...)...)
	}
	transfer := []Step{c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok")}
	ahead := func(command, reply string, n int, more ...Step) []Step {
		commands, replies := slices.Repeat([]string{command}, n), slices.Repeat([]string{reply}, n)
		return inAndOut(append([]Step{c(append(commands, "PASV")...), s(append(replies, entering)...)}, more...)...)
	}

	return []Dialogue{
		{
			Name: "NOOP during a transfer, never answered", Why: "IIS and others",
			Steps: then(c("NOOP"), s("226 ok")),
			Trail: used("PASV 50055", "PASV 50056"),
		},
		{
			Name: "NOOP never answered, then EPSV", Why: "IIS and others",
			Steps: inAndOut(append([]Step{c("NOOP"), c("EPSV"), s(extended)}, transfer...)...),
			Trail: used("EPSV 50055"),
		},
		{
			Name: "NOOP never answered, four transfers in active mode", Why: "IIS and others",
			Steps: inAndOut(
				c("PORT {PORT}"), s("200 ok"), c("RETR a"), s("150 ok"), opens(Active, Port), c("NOOP"), s("226 ok"),
				c("PORT {C},195,136"), s("200 ok"), c("RETR b"), s("150 ok"), opens(Active, OtherPort), c("NOOP"), s("226 ok"),
				c("PORT {PORT}"), s("200 ok"), c("RETR c"), s("150 ok"), opens(Active, Port), s("226 ok"),
				c("PASV"), s(entering), c("RETR a"), opens(Passive, Port), s("150 ok"), s("226 ok"),
			),
			Trail: used("PORT 50055", "PORT 50056", "PORT 50055", "PASV 50055"),
		},
		{
			Name: "NOOP answered in the middle of a transfer", Why: "servers with a thread for the transfer",
			Steps: then(c("NOOP"), s("200 ok"), s("226 ok")),
			Trail: used("PASV 50055", "PASV 50056"),
		},
		{
			Name: "the end of a transfer never told", Why: "servers that leave out 226",
			Steps: then(),
			Trail: used("PASV 50055", "PASV 50056"),
		},
		{
			Name: "32 NOOPs during a transfer, answered at its end", Why: "clients that keep the session alive",
			Steps: then(c(slices.Repeat([]string{"NOOP"}, 32)...), s(append([]string{"226 ok"}, slices.Repeat([]string{"200 ok"}, 32)...)...)),
			Trail: used("PASV 50055", "PASV 50056"),
		},
		{
			Name: "100 NOOPs during a transfer, never answered", Why: "IIS and others",
			Steps: then(c(slices.Repeat([]string{"NOOP"}, 100)...), s("226 ok")),
			Trail: used("PASV 50055", "PASV 50056"),
		},
		{
			Name: "50 times SIZE, and PASV, in one segment", Why: "mirroring clients",
			Steps: ahead("SIZE a", "213 1", 50, transfer...),
			Trail: used("PASV 50055"),
		},
		{
			Name: "50 times MDTM, refused, and PASV, in one segment", Why: "mirroring clients",
			Steps: ahead("MDTM a", "550 no such file", 50, transfer...),
			Trail: used("PASV 50055"),
		},
		{
			Name: "50 times SIZE and MDTM, and PORT, in one segment", Why: "mirroring clients",
			Steps: inAndOut(
				c(append(slices.Repeat([]string{"SIZE a", "MDTM a"}, 25), "PORT {PORT}")...),
				s(append(slices.Repeat([]string{"213 1"}, 50), "200 ok")...),
				c("RETR a"), s("150 ok"), opens(Active, Port), s("226 ok"),
			),
			Trail: used("PORT 50055"),
		},
		{
			Name: "EPSV answered by 227", Why: "clients take it",
			Steps: inAndOut(append([]Step{c("EPSV"), s(entering)}, transfer...)...),
			Trail: used("EPSV 50055"),
		},
		{
			Name: "EPSV answered by 227, in a segment with others", Why: "clients take it",
			Steps: inAndOut(append([]Step{c("TYPE I", "EPSV"), s("200 ok", entering).cut(12)}, transfer...)...),
			Trail: used("EPSV 50055"),
		},
	}
}

// misanswered are attacks on what is tolerated of such servers.
func misanswered() []Dialogue {
	return []Dialogue{
		{
			Name: "227 behind USER that was never answered", Why: "the login may have been refused",
			Steps: inAndOut(c("USER root"), c("PASV"), s(entering), shut(Passive, Port)),
			Trail: []string{"deny out_of_step"},
		},
		{
			Name: "227 behind AUTH that was never answered", Why: "the session may be TLS",
			Steps: inAndOut(c("NOOP", "AUTH TLS"), c("PASV"), s(entering), shut(Passive, Port)),
			Trail: []string{"deny out_of_step"},
		},
		{
			Name: "227 to another service behind NOOP that was never answered", Why: "PASV hole, where a reply was passed over",
			Steps: inAndOut(c("NOOP"), c("PASV"), s("227 Entering Passive Mode ({S},23,112)."), shut(Passive, 6000)),
			Trail: []string{"deny denied_port"},
		},
		{
			Name: "227 for EPSV behind EPSV ALL", Why: "RFC 2428 4",
			Steps: inAndOut(c("EPSV ALL"), s("200 ok"), c("EPSV"), s(entering), shut(Passive, Port)),
			Trail: []string{"deny epsv_all"},
		},
		{
			Name: "227 of another host for EPSV", Why: "RFC 2577 3",
			Steps: inAndOut(c("EPSV"), s("227 Entering Passive Mode ({O},195,135)."), shutOther(Passive)),
			Trail: []string{"deny foreign_address"},
		},
		{
			Name: "227 in a block that was begun and not ended", Why: "PASV hole: a listing that holds such a line, and a client that does not read on",
			Steps: in(c("STAT a"), s("211-a:", "200 x"), c("PASV"), s(entering), shut(Passive, Port), c("QUIT"), s("211 end", "221 Goodbye.")),
			Trail: []string{"deny out_of_step"},
		},
	}
}
