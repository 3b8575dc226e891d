// Package bulletins is a dated table of what a mesh's makers published: which
// versions have known vulnerabilities, and until when they are supported. One is
// built in; Load reads another one, for clusters that are updated more often
// than the operator, or that nobody can reach.
package bulletins

import (
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"
)

// ConfigMap in the mesh's namespace that replaces the table, and its Key.
const (
	ConfigMap = "mesh-security-bulletins"
	Key       = "istio.yaml"
)

// Component is a part of the mesh.
type Component string

// The components of Istio that are told apart.
const (
	ControlPlane Component = "ControlPlane"
	Proxy        Component = "Proxy"
)

// Table is what was published until a day.
type Table struct {
	// AsOf is the last day, in UTC, of which it is.
	AsOf time.Time
	// Releases are the minor versions, the newest first.
	Releases  []Release
	Bulletins []Bulletin
}

// Release is a minor version.
type Release struct {
	// Minor is like 1.29.
	Minor string
	// EndOfLife is the last day, in UTC, on which it is supported; zero where
	// none was given. Expected is true where it was only estimated.
	EndOfLife time.Time
	Expected  bool

	number *version.Version
}

// Bulletin is about vulnerabilities of some versions.
type Bulletin struct {
	ID   string
	CVEs []string
	// CVSS is the base score, 0 to 10.
	CVSS       float64
	Components []Component
	// Fixed are the first versions without them, where the bulletin names them.
	Fixed []string
	URL   string

	affected []span
}

// span is versions from one to another, both included; without a first, all
// before end.
type span struct{ first, last, end *version.Version }

func (s span) has(v *version.Version) bool {
	if s.first == nil {
		return v.LessThan(s.end)
	}
	return v.AtLeast(s.first) && s.last.AtLeast(v)
}

// file is the table as it is written.
type file struct {
	AsOf     string   `json:"asOf"`
	Sources  []string `json:"sources"`
	Releases []struct {
		Minor     string `json:"minor"`
		EndOfLife string `json:"endOfLife"`
		Expected  bool   `json:"expected"`
	} `json:"releases"`
	Bulletins []struct {
		ID         string      `json:"id"`
		CVEs       []string    `json:"cves"`
		CVSS       float64     `json:"cvss"`
		Components []Component `json:"components"`
		Affected   []string    `json:"affected"`
		Fixed      []string    `json:"fixed"`
		URL        string      `json:"url"`
	} `json:"bulletins"`
}

//go:embed istio.yaml
var builtIn string

// BuiltIn is the table that the operator was released with.
var BuiltIn = sync.OnceValue(func() *Table {
	t, err := Load(builtIn)
	if err != nil {
		panic("the built-in table: " + err.Error()) // A test loads it.
	}
	return t
})

// loaded remembers the last table, since it is asked for with every look at a namespace.
var loaded struct {
	sync.Mutex
	text  string
	table *Table
	err   error
}

// Replaced is Load, quick for a text that was loaded just before.
func Replaced(text string) (*Table, error) {
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.text != text || (loaded.table == nil && loaded.err == nil) {
		loaded.text = text
		loaded.table, loaded.err = Load(text)
	}
	return loaded.table, loaded.err
}

// Load reads a table from YAML. Its error names everything that is wrong: a
// table is used whole or not at all.
func Load(text string) (*Table, error) {
	var f file
	if err := yaml.UnmarshalStrict([]byte(text), &f); err != nil {
		return nil, fmt.Errorf("not a table of bulletins: %w", err)
	}
	t := &Table{}
	var errs []error
	var err error
	if t.AsOf, err = day(f.AsOf); err != nil {
		errs = append(errs, fmt.Errorf("asOf: %w", err))
	}
	if len(f.Releases) == 0 {
		errs = append(errs, errors.New("releases: at least one is needed, to tell which versions the table knows"))
	}
	seen := map[string]bool{}
	for i, r := range f.Releases {
		out := Release{Minor: r.Minor, Expected: r.Expected}
		if out.number, err = version.ParseGeneric(r.Minor); err != nil || len(out.number.Components()) != 2 {
			errs = append(errs, fmt.Errorf("releases[%d]: minor %q is not like \"1.29\"", i, r.Minor))
			continue
		}
		if r.EndOfLife != "" {
			if out.EndOfLife, err = day(r.EndOfLife); err != nil {
				errs = append(errs, fmt.Errorf("releases[%d]: endOfLife: %w", i, err))
			}
		}
		if seen[r.Minor] {
			errs = append(errs, fmt.Errorf("releases[%d]: minor %s is given twice", i, r.Minor))
		}
		seen[r.Minor] = true
		t.Releases = append(t.Releases, out)
	}
	slices.SortStableFunc(t.Releases, func(a, b Release) int { return compare(b.number, a.number) })
	for i, b := range f.Bulletins {
		out := Bulletin{ID: b.ID, CVEs: b.CVEs, CVSS: b.CVSS, Components: b.Components, Fixed: b.Fixed, URL: b.URL}
		for _, err := range out.check(b.Affected, seen) {
			errs = append(errs, fmt.Errorf("bulletins[%d] %s: %w", i, b.ID, err))
		}
		t.Bulletins = append(t.Bulletins, out)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return t, nil
}

// check says what is wrong with a bulletin, and fills in what it affects.
func (b *Bulletin) check(affected []string, seen map[string]bool) (errs []error) {
	if b.ID == "" {
		errs = append(errs, errors.New("id is missing"))
	}
	if b.CVSS < 0 || b.CVSS > 10 {
		errs = append(errs, fmt.Errorf("cvss %g is not between 0 and 10", b.CVSS))
	}
	if u, err := url.Parse(b.URL); err != nil || u.Scheme != "https" || u.Host == "" {
		errs = append(errs, fmt.Errorf("url %q is not an https URL", b.URL))
	}
	if len(b.Components) == 0 {
		errs = append(errs, errors.New("components are missing: ControlPlane, Proxy"))
	}
	for _, c := range b.Components {
		if c != ControlPlane && c != Proxy {
			errs = append(errs, fmt.Errorf("component %q is neither ControlPlane nor Proxy", c))
		}
		if seen[b.ID+" "+string(c)] {
			errs = append(errs, fmt.Errorf("is given twice for component %s", c))
		}
		seen[b.ID+" "+string(c)] = true
	}
	for _, f := range b.Fixed {
		if _, err := Parse(f); err != nil {
			errs = append(errs, fmt.Errorf("fixed: %w", err))
		}
	}
	if len(affected) == 0 {
		errs = append(errs, errors.New("affected is missing"))
	}
	for _, text := range affected {
		s, err := parseSpan(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("affected: %w", err))
		}
		b.affected = append(b.affected, s)
	}
	return errs
}

// parseSpan reads "1.28.0 to 1.28.5", "1.29.0" or "before 1.20.0".
func parseSpan(text string) (span, error) {
	if end, ok := strings.CutPrefix(text, "before "); ok {
		v, err := Parse(end)
		return span{end: v}, err
	}
	from, to, ok := strings.Cut(text, " to ")
	first, err1 := Parse(from)
	if !ok {
		return span{first: first, last: first}, err1
	}
	last, err2 := Parse(to)
	if err := errors.Join(err1, err2); err != nil {
		return span{}, err
	}
	if last.LessThan(first) {
		return span{}, fmt.Errorf("%q ends before it begins", text)
	}
	return span{first: first, last: last}, nil
}

func day(text string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, fmt.Errorf("%q is not a day like 2026-01-31", text)
	}
	return t, nil
}

// Parse reads a version like 1.29.2. What follows its numbers, as vendors and
// pre-releases have it, is left out; a build of no release, like 1.30-alpha.4f1c,
// is none.
func Parse(text string) (*version.Version, error) {
	numbers, _, _ := strings.Cut(text, "-")
	numbers, _, _ = strings.Cut(numbers, "+")
	parts := strings.Split(strings.TrimPrefix(numbers, "v"), ".")
	for _, p := range parts {
		if _, err := strconv.ParseUint(p, 10, 16); err != nil || len(parts) != 3 {
			return nil, fmt.Errorf("%q is not a version like 1.29.2", text)
		}
	}
	v, err := version.ParseGeneric(strings.Join(parts, "."))
	if err != nil {
		return nil, fmt.Errorf("%q is not a version like 1.29.2: %w", text, err)
	}
	return v, nil
}

func compare(a, b *version.Version) int {
	switch {
	case a.LessThan(b):
		return -1
	case b.LessThan(a):
		return 1
	}
	return 0
}

// Affecting are the bulletins about a version of a component, the gravest first.
func (t *Table) Affecting(c Component, v *version.Version) []Bulletin {
	var out []Bulletin
	for _, b := range t.Bulletins {
		if slices.Contains(b.Components, c) && slices.ContainsFunc(b.affected, func(s span) bool { return s.has(v) }) {
			out = append(out, b)
		}
	}
	slices.SortStableFunc(out, func(a, b Bulletin) int {
		switch {
		case a.CVSS > b.CVSS:
			return -1
		case a.CVSS < b.CVSS:
			return 1
		}
		return strings.Compare(b.ID, a.ID)
	})
	return out
}

// Support is what a table says of a version at a time.
type Support string

// What it may say.
const (
	Supported Support = "Supported"
	Ended     Support = "Ended"
	// Newer: the table is older than the version.
	Newer Support = "Newer"
	// NoEnd: the table has no end for it, and is too old to tell without.
	NoEnd Support = "NoEnd"
)

// grace is how long a minor version is supported, by Istio's policy, after the
// next but one is out: as long after the table's day one without an end was
// supported in any case.
const grace = 6 * 7 * 24 * time.Hour

// Supports says whether the minor version of v is supported at a time, with what
// the table has of it: nothing where it is newer, or older, than all of them.
func (t *Table) Supports(v *version.Version, now time.Time) (Support, Release) {
	r, ok := t.release(v)
	switch {
	case !ok && t.Releases[0].number.LessThan(v):
		return Newer, r
	case !ok:
		return Ended, r
	case now.Before(t.until(r)):
		return Supported, r
	case r.EndOfLife.IsZero():
		return NoEnd, r
	}
	return Ended, r
}

// Until is when what Supports says of v changes by itself; false where it never does.
func (t *Table) Until(v *version.Version) (time.Time, bool) {
	r, ok := t.release(v)
	if !ok {
		return time.Time{}, false
	}
	return t.until(r), true
}

func (t *Table) until(r Release) time.Time {
	if r.EndOfLife.IsZero() {
		return t.AsOf.Add(grace)
	}
	return r.EndOfLife.AddDate(0, 0, 1)
}

func (t *Table) release(v *version.Version) (Release, bool) {
	minor := version.MajorMinor(v.Major(), v.Minor())
	i := slices.IndexFunc(t.Releases, func(r Release) bool { return compare(r.number, minor) == 0 })
	if i < 0 {
		return Release{}, false
	}
	return t.Releases[i], true
}
