package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// choice is a flag that takes one of some words.
type choice struct {
	value *string
	of    []string
}

var _ pflag.Value = choice{}

// String implements pflag.Value.
func (c choice) String() string { return *c.value }

// Type implements pflag.Value.
func (c choice) Type() string { return strings.Join(c.of, "|") }

// Set implements pflag.Value.
func (c choice) Set(v string) error {
	if !slices.Contains(c.of, v) {
		return fmt.Errorf("it must be one of %s", strings.Join(c.of, ", "))
	}
	*c.value = v
	return nil
}

// outputFlag adds -o, the first of the words being the default.
func outputFlag(cmd *cobra.Command, into *string, of ...string) {
	*into = of[0]
	cmd.Flags().VarP(choice{into, of}, "output", "o", "How it is written.")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(cobra.AppendActiveHelp(of, ""), cobra.ShellCompDirectiveNoFileComp))
}

// print writes what a command found: value as JSON, the page otherwise; yaml
// is what is written for that, where a command has it.
func (a *app) print(output string, value any, p *page, yaml func() error) error {
	switch output {
	case "json":
		e := json.NewEncoder(a.Out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(value)
	case "markdown":
		return p.writeMarkdown(a.Out)
	case "yaml":
		return yaml()
	}
	return p.writeText(a.Out, a.Terminal)
}
