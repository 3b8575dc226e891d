package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the module's folder.
const root = "../.."

// page is one Markdown file.
type page struct {
	path   string // from the module's folder
	text   string
	fences []fence
	// anchors are the headings, as a link names them.
	anchors map[string]bool
	links   []link
}

// runs says whether there is anything to run.
func (p page) runs() bool {
	return slices.ContainsFunc(p.fences, func(f fence) bool { return f.language == "sh" || f.language == "yaml" })
}

// fence is one fenced block.
type fence struct {
	line       int
	language   string
	attributes map[string]string
	text       string
}

type link struct {
	line   int
	target string
}

func (f fence) is(language, attribute string) bool {
	_, ok := f.attributes[attribute]
	return ok && f.language == language
}

var (
	fenceMark   = regexp.MustCompile("^( *)(```+)(.*)$")
	headingMark = regexp.MustCompile(`^#{1,6} +(.*?) *$`)
	linkMark    = regexp.MustCompile(`\]\(<?([^)<>\s]+)>?(?: "[^"]*")?\)|(?:src|href|srcset)="([^"]+)"`)
	codeSpan    = regexp.MustCompile("`[^`]*`")
	commandMark = regexp.MustCompile(`^\s*(kubectl|make|go|istioctl) +[a-z-]`)
)

// pages reads README.md and what is below docs, README.md first and what
// removes the operator last.
func pages(t *testing.T) []page {
	t.Helper()
	paths := []string{"README.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		path, err = filepath.Rel(root, path)
		paths = append(paths, filepath.ToSlash(path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	const removes = "docs/how-to/operations.md"
	slices.SortStableFunc(paths, func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == "README.md" || b == removes:
			return -1
		case b == "README.md" || a == removes:
			return 1
		}
		return strings.Compare(a, b)
	})
	var out []page
	for _, p := range paths {
		out = append(out, parse(t, p))
	}
	return out
}

func generated(path string) bool { return strings.HasPrefix(path, "docs/reference/") }

// parse reads one page.
func parse(t *testing.T, path string) page {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	p := page{path: path, text: string(raw), anchors: map[string]bool{}}
	var open *fence
	indent, mark := "", ""
	seen := map[string]int{}
	for i, line := range strings.Split(p.text, "\n") {
		if m := fenceMark.FindStringSubmatch(line); m != nil && (open == nil || m[2] == mark && strings.TrimSpace(m[3]) == "") {
			if open == nil {
				indent, mark = m[1], m[2]
				open = newFence(i+1, m[3])
			} else {
				p.fences = append(p.fences, *open)
				open = nil
			}
			continue
		}
		if open != nil {
			open.text += strings.TrimPrefix(line, indent) + "\n"
			continue
		}
		if m := headingMark.FindStringSubmatch(line); m != nil {
			a := anchor(m[1])
			if n := seen[a]; n > 0 {
				p.anchors[fmt.Sprintf("%s-%d", a, n)] = true
			}
			seen[a]++
			p.anchors[a] = true
		}
		for _, m := range linkMark.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, ""), -1) {
			p.links = append(p.links, link{i + 1, m[1] + m[2]})
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: a fence that does not end", path, open.line)
	}
	return p
}

func newFence(line int, info string) *fence {
	f := &fence{line: line, attributes: map[string]string{}}
	for i, word := range strings.Fields(info) {
		if i == 0 {
			f.language = word
			continue
		}
		k, v, _ := strings.Cut(word, "=")
		f.attributes[k] = v
	}
	return f
}

// anchor is what a heading's link is called.
func anchor(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// known are the attributes of each language of a fence.
var known = map[string][]string{
	"sh":   {"fails", "no-test"},
	"text": {"output", ""},
	"yaml": {"file", "in", "no-test", ""},
	"":     {""},
}

func TestFencesSayWhatTheyAre(t *testing.T) {
	for _, p := range pages(t) {
		if generated(p.path) {
			continue
		}
		for i, f := range p.fences {
			at := fmt.Sprintf("%s:%d", p.path, f.line)
			if _, ok := known[f.language]; !ok {
				t.Errorf("%s: a fence of %q is not known here, see doc.go", at, f.language)
			}
			for a, value := range f.attributes {
				if !slices.Contains(known[f.language], a) {
					t.Errorf("%s: %q is no attribute of %s, see doc.go", at, a, f.language)
				}
				if (a == "no-test" || a == "file" || a == "in") && value == "" {
					t.Errorf("%s: %s needs a value", at, a)
				}
			}
			if f.is("text", "output") && (i == 0 || p.fences[i-1].language != "sh" || p.fences[i-1].is("sh", "no-test")) {
				t.Errorf("%s: output of no command", at)
			}
			for line := range strings.Lines(f.text) {
				switch {
				case f.language == "sh" && strings.HasPrefix(line, "$ "):
					t.Errorf("%s: commands are shown without a prompt: %s", at, line)
				case (f.language == "text" || f.language == "") && commandMark.MatchString(line):
					t.Errorf("%s: a command outside of a sh fence: %s", at, line)
				}
			}
		}
	}
}

// linked are further pages whose links are checked.
var linked = []string{"CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}

func TestLinksLeadSomewhere(t *testing.T) {
	all := map[string]page{}
	for _, p := range pages(t) {
		all[p.path] = p
	}
	for _, path := range linked {
		all[path] = parse(t, path)
	}
	count := 0
	for _, p := range all {
		if generated(p.path) {
			continue
		}
		for _, l := range p.links {
			if strings.Contains(l.target, "://") || strings.HasPrefix(l.target, "mailto:") {
				continue
			}
			count++
			if why := broken(p, l.target, all); why != "" {
				t.Errorf("%s:%d: %s: %s", p.path, l.line, l.target, why)
			}
		}
	}
	if count < 20 {
		t.Errorf("only %d links were found: are they read?", count)
	}
}

func broken(from page, target string, all map[string]page) string {
	path, fragment, _ := strings.Cut(target, "#")
	to := from
	if path != "" {
		path = filepath.ToSlash(filepath.Join(filepath.Dir(from.path), path))
		if strings.HasPrefix(path, "..") {
			return "leaves the repository"
		}
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			return err.Error()
		}
		if fragment == "" {
			return ""
		}
		var ok bool
		if to, ok = all[path]; !ok {
			return "an anchor in a file that is no page"
		}
	}
	if !to.anchors[fragment] {
		return "no such heading in " + to.path
	}
	return ""
}

// Every page is reached from the index.
func TestIndexIsComplete(t *testing.T) {
	index := parse(t, "docs/README.md")
	for _, p := range pages(t) {
		path, below := strings.CutPrefix(p.path, "docs/")
		if !below || p.path == index.path || strings.HasPrefix(path, "decisions/") {
			continue
		}
		if !slices.ContainsFunc(index.links, func(l link) bool { return l.target == path }) {
			t.Errorf("docs/README.md does not link to %s", path)
		}
	}
}
