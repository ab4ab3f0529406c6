package cell

import "testing"

func TestOf(t *testing.T) {
	for in, want := range map[string]string{
		"": "-", "bob": "bob", "müller": "müller", "田中": "田中", "a b": `"a b"`, "\x1b[m": `"\x1b[m"`, "\xff": `"\xff"`, `"`: `"\""`,
		"\ufe0f": `"\ufe0f"`, "e\u0301": `"e\u0301"`, "\u0d4e": `"\u0d4e"`, "\U00011f02": `"\U00011f02"`, "\u202eabc": `"\u202eabc"`,
	} {
		if got := Of(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
