package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// one wants a single argument, and says what it is.
func one(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("name %s", what)
		}
		return nil
	}
}

// choice is a flag's value: one of a few words.
type choice struct {
	value   string
	allowed []string
}

// oneOf is a choice of words, the first by default.
func oneOf(allowed ...string) *choice { return &choice{allowed[0], allowed} }

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("it must be one of %s", strings.Join(c.allowed, ", "))
	}
	c.value = s
	return nil
}

// bounded is a flag's value: a whole number from least to most.
type bounded struct {
	value       *int
	least, most int
}

func (b bounded) String() string { return strconv.Itoa(*b.value) }
func (b bounded) Type() string   { return "number" }

func (b bounded) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < b.least || n > b.most {
		return fmt.Errorf("it must be a number from %d to %d", b.least, b.most)
	}
	*b.value = n
	return nil
}

// portList is a flag's value like "21,2121".
type portList []uint16

func (p *portList) String() string {
	var words []string
	for _, port := range *p {
		words = append(words, strconv.Itoa(int(port)))
	}
	return strings.Join(words, ",")
}

func (p *portList) Type() string { return "list" }

func (p *portList) Set(s string) error {
	*p = nil
	for word := range strings.SplitSeq(s, ",") {
		port, err := strconv.ParseUint(strings.TrimSpace(word), 10, 16)
		if err != nil || port == 0 {
			return fmt.Errorf("%q is no port from 1 to 65535", word)
		}
		*p = append(*p, uint16(port))
	}
	return nil
}

// markBit is a flag's value like "0x10000000".
type markBit uint32

func (m *markBit) String() string { return fmt.Sprintf("%#x", uint32(*m)) }
func (m *markBit) Type() string   { return "bit" }

func (m *markBit) Set(s string) error {
	bit, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return fmt.Errorf("%q is no bit of 32, like 0x10000000", s)
	}
	*m = markBit(bit)
	return nil
}
