package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/meshsecurity/mesh-security-operator/test/operator"
	"github.com/meshsecurity/mesh-security-operator/test/scale/measure"
)

// settings say how much is measured.
type settings struct {
	// profiles, each in a namespace of its own.
	profiles int
	// namespaces of the audit, which needs no API server.
	namespaces int
	// runs of the operator, and as many of the floor.
	runs int
	// period is how long each run of the heal figure lasts, and warmUp how long
	// before nothing counts: connections are made then.
	period, warmUp time.Duration
	// workers is how many namespaces are worked on at a time; 0: the operator's default.
	workers int
	// pprof is a loopback address at which the operator serves profiles; empty: nowhere.
	pprof string
}

func main() {
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	s := settings{warmUp: time.Second}
	bench := flag.String("bench", ".", "regular expression of the figures to measure")
	out := flag.String("out", filepath.Join("bin", "bench"), "folder of the results")
	thresholds := flag.String("thresholds", filepath.Join("test", "scale", "thresholds.yaml"), "file of thresholds; empty: compare with none")
	flag.IntVar(&s.profiles, "profiles", 100, "profiles, each in a namespace of its own")
	flag.IntVar(&s.namespaces, "namespaces", 10_000, "namespaces of the figure audit, of ten pods each")
	flag.IntVar(&s.runs, "runs", 5, "runs of the operator, and as many of the floor")
	flag.DurationVar(&s.period, "period", 6*time.Second, "how long each run of the figure heal lasts")
	flag.IntVar(&s.workers, "workers", 0, "the operator's flag --workers; 0: its default")
	flag.StringVar(&s.pprof, "pprof", "", "loopback address at which the operator serves profiles of itself")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, s, *bench, *out, *thresholds)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// report is what is written as JSON.
type report struct {
	Started time.Time `json:"started"`
	Took    string    `json:"took"`
	// CPUs and Load, as /proc/loadavg has it before and after, say how far the
	// times are to be trusted.
	CPUs     int              `json:"cpus"`
	Load     [2]string        `json:"load"`
	Profiles int              `json:"profiles"`
	Figures  []measure.Figure `json:"figures"`
}

func run(ctx context.Context, s settings, bench, out, thresholdsFile string) error {
	choice, err := regexp.Compile(bench)
	if err != nil {
		return err
	}
	var thresholds measure.Thresholds
	if thresholdsFile != "" {
		text, err := os.ReadFile(thresholdsFile)
		if err != nil {
			return err
		}
		if thresholds, err = measure.ParseThresholds(text); err != nil {
			return err
		}
	}
	r := report{Started: time.Now().UTC(), CPUs: runtime.NumCPU(), Profiles: s.profiles}
	r.Load[0] = load()
	result, err := measureAll(ctx, s, choice)
	if err != nil {
		return err
	}
	if len(result.figures) == 0 {
		return nil // the choice is of other benchmarks
	}
	r.Load[1], r.Figures, r.Took = load(), result.figures, time.Since(r.Started).Round(time.Second).String()
	exceeded := thresholds.Judge(r.Figures)
	fmt.Printf("%d profiles, %d runs each, %d CPUs, load average %s before and %s after, %s\n\n%s",
		s.profiles, s.runs, r.CPUs, r.Load[0], r.Load[1], r.Took, measure.Table(r.Figures))
	if err := save(out, r, result.plots); err != nil {
		return err
	}
	if len(exceeded) > 0 {
		return fmt.Errorf("worse than %s allows: %s", thresholdsFile, strings.Join(exceeded, ", "))
	}
	return nil
}

func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

// save writes the results: figures.json, and a picture of each plot.
func save(dir string, r report, plots map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	errs := []error{os.WriteFile(filepath.Join(dir, "figures.json"), append(text, '\n'), 0o600)}
	for name, plot := range plots {
		errs = append(errs, os.WriteFile(filepath.Join(dir, name+".svg"), []byte(plot), 0o600))
	}
	return errors.Join(errs...)
}

// binaries builds the operator and the floor.
func binaries(ctx context.Context, dir string) (manager, floor string, err error) {
	if manager, err = operator.Build(ctx, dir); err != nil {
		return "", "", err
	}
	floor, err = operator.BuildPackage(ctx, dir, "floor", "./test/scale/floor")
	return manager, floor, err
}
