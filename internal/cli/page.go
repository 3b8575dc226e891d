package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// page is what a command has to say, for a terminal or as Markdown.
type page struct{ parts []part }

// part is a heading, a paragraph, a list or a table.
type part struct {
	level  int // of a heading; 0: none
	text   string
	items  []string
	header []string
	rows   [][]string
}

func (p *page) heading(level int, format string, args ...any) {
	p.parts = append(p.parts, part{level: level, text: fmt.Sprintf(format, args...)})
}

func (p *page) say(format string, args ...any) {
	p.parts = append(p.parts, part{text: fmt.Sprintf(format, args...)})
}

// list says nothing where there is nothing to list.
func (p *page) list(items []string) {
	if len(items) > 0 {
		p.parts = append(p.parts, part{items: items})
	}
}

func (p *page) table(header []string, rows [][]string) {
	if len(rows) > 0 {
		p.parts = append(p.parts, part{header: header, rows: rows})
	}
}

// Colours of a terminal, by what is written in them.
var colours = map[string]string{
	"Critical": "1;31", "High": "31", "Medium": "33", "Low": "36",
	"Enforced": "32", "True": "32", "False": "31", "Unknown": "33", "Looser": "31", "Unsupported": "31",
	"create": "32", "change": "33", "delete": "31",
}

func coloured(on bool, code, text string) string {
	if !on || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// writeText is for a terminal, with colours or without.
func (p *page) writeText(w io.Writer, colour bool) error {
	var b strings.Builder
	for i, part := range p.parts {
		if i > 0 && (part.level > 0 || len(part.rows) > 0) {
			b.WriteByte('\n')
		}
		switch {
		case part.level > 0:
			b.WriteString(coloured(colour, "1", part.text) + "\n")
		case len(part.rows) > 0:
			table(&b, part, colour)
		case len(part.items) > 0:
			for _, item := range part.items {
				b.WriteString("  - " + item + "\n")
			}
		default:
			b.WriteString(part.text + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func table(b *strings.Builder, p part, colour bool) {
	// Colours would count as width: they are put in once the columns are laid out.
	var plain strings.Builder
	t := tabwriter.NewWriter(&plain, 0, 8, 3, ' ', 0)
	for _, row := range append([][]string{p.header}, p.rows...) {
		_, _ = io.WriteString(t, strings.Join(row, "\t")+"\n")
	}
	t.Flush() //nolint:errcheck // into memory
	lines := strings.SplitAfter(plain.String(), "\n")
	for i, line := range lines {
		if i > 0 && colour {
			for _, cell := range p.rows[min(i-1, len(p.rows)-1)] {
				if c := colours[cell]; c != "" {
					line = strings.Replace(line, cell, coloured(true, c, cell), 1)
				}
			}
		}
		b.WriteString(strings.TrimRight(line, " \n"))
		if strings.HasSuffix(line, "\n") {
			b.WriteByte('\n')
		}
	}
}

// writeMarkdown is for a comment on a pull request.
func (p *page) writeMarkdown(w io.Writer) error {
	var b strings.Builder
	for i, part := range p.parts {
		if i > 0 {
			b.WriteByte('\n')
		}
		switch {
		case part.level > 0:
			b.WriteString(strings.Repeat("#", part.level+1) + " " + escape(part.text) + "\n")
		case len(part.rows) > 0:
			row := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
			row(part.header)
			row(slices.Repeat([]string{"---"}, len(part.header)))
			for _, r := range part.rows {
				var cells []string
				for _, c := range r {
					cells = append(cells, strings.ReplaceAll(escape(c), "|", `\|`))
				}
				row(cells)
			}
		case len(part.items) > 0:
			for _, item := range part.items {
				b.WriteString("- " + escape(item) + "\n")
			}
		default:
			b.WriteString(escape(part.text) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// escape keeps names and messages, which others write, from being markup.
func escape(s string) string {
	return strings.NewReplacer("\r", "", "\n", " ", "<", "&lt;", ">", "&gt;", "*", `\*`, "_", `\_`, "`", "'", "[", `\[`, "]", `\]`).Replace(s)
}
