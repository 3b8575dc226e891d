package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/meshsecurity/mesh-security-operator/internal/audit"
	"github.com/meshsecurity/mesh-security-operator/internal/decide"
	"github.com/meshsecurity/mesh-security-operator/internal/facts"
	"github.com/meshsecurity/mesh-security-operator/internal/status"
)

// settings say what the cluster is like, and how much is measured.
type settings struct {
	namespaces, workloads, replicas, runs int
}

// result is what was measured. Times are of the processor, garbage collection
// included.
type result struct {
	Pods    int `json:"pods"`
	Objects int `json:"objects"`
	// Full is the audit of every namespace with nothing known, in seconds, for each run.
	Full []float64 `json:"full"`
	// Event is the audit of one namespace after a pod became of another kind,
	// and Look all of what the operator does then but for writing, in
	// microseconds: the mean of many, for each run.
	Event []float64 `json:"event"`
	Look  []float64 `json:"look"`
	// Judged is how many workloads were looked at for an event, at most.
	Judged   int `json:"judged"`
	Findings int `json:"findings"`
	// RSS is the memory held at last, with all that is kept, in MiB.
	RSS int `json:"rss"`
}

func main() {
	var s settings
	flag.IntVar(&s.namespaces, "namespaces", 1000, "namespaces, each with a profile")
	flag.IntVar(&s.workloads, "workloads", 5, "workloads of a namespace")
	flag.IntVar(&s.replicas, "replicas", 2, "pods of a workload")
	flag.IntVar(&s.runs, "runs", 5, "runs of each measurement")
	cpu := flag.String("cpuprofile", "", "file for a profile of the processor's time in audits")
	flag.Parse()
	if err := run(context.Background(), s, *cpu); err != nil {
		fmt.Fprintln(os.Stderr, "audit:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings, cpu string) error {
	t, err := newTown()
	if err != nil {
		return err
	}
	for i := range s.namespaces {
		if err := t.settle(ctx, name(i), s.workloads, s.replicas); err != nil {
			return err
		}
	}
	if cpu != "" {
		f, err := os.Create(cpu)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	out := result{Pods: s.namespaces * s.workloads * s.replicas, Objects: t.objects}
	seen := map[string]*audit.Memo{}
	for range s.runs {
		full, err := t.pass(ctx, s, seen, &out)
		if err != nil {
			return err
		}
		out.Full = append(out.Full, full.Seconds())
	}
	for i := range s.runs {
		event, look, err := t.events(ctx, s, i, seen, &out)
		if err != nil {
			return err
		}
		out.Event, out.Look = append(out.Event, micros(event)), append(out.Look, micros(look))
	}
	debug.FreeOSMemory()
	if out.RSS, err = resident(); err != nil {
		return err
	}
	err = json.NewEncoder(os.Stdout).Encode(out)
	runtime.KeepAlive(t)
	runtime.KeepAlive(seen)
	return err
}

func name(i int) string { return fmt.Sprintf("town-%05d", i) }

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// seenAt is a namespace as it was read and decided about.
type seenAt struct {
	observed facts.Observed
	decision decide.Decision
}

// chunk is how many namespaces are read before they are audited.
const chunk = 1000

// pass audits every namespace with nothing known of it.
func (t *town) pass(ctx context.Context, s settings, seen map[string]*audit.Memo, out *result) (full time.Duration, err error) {
	out.Findings = 0
	for from := 0; from < s.namespaces; from += chunk {
		var all []seenAt
		for i := from; i < min(from+chunk, s.namespaces); i++ {
			one, err := t.read(ctx, name(i))
			if err != nil {
				return 0, err
			}
			all = append(all, one)
		}
		runtime.GC()
		began := processor()
		for i := range all {
			all[i].decision.Examine(all[i].observed)
		}
		full += processor() - began
		for i, one := range all {
			if len(one.decision.Steps) > 0 {
				return 0, fmt.Errorf("there is something to write: %+v", one.decision.Steps)
			}
			seen[name(from+i)] = one.decision.Seen
			out.Findings += len(one.decision.Examined)
		}
	}
	return full, nil
}

// eventsEach is how many events a run has.
const eventsEach = 500

// events has a pod become of another kind and its namespace looked at, many
// times, and returns the mean.
func (t *town) events(ctx context.Context, s settings, run int, seen map[string]*audit.Memo, out *result) (event, look time.Duration, err error) {
	for i := range eventsEach {
		namespace := name(i * 7919 % s.namespaces)
		if err := t.put(pod(namespace, i%s.workloads, i%s.replicas, 1+(run+i)%2)); err != nil {
			return 0, 0, err
		}
		began := processor()
		one, err := t.read(ctx, namespace)
		if err != nil {
			return 0, 0, err
		}
		one.decision.Seen = seen[namespace]
		one.report()
		look += processor() - began
		began = processor()
		one.decision.Examine(one.observed)
		event += processor() - began
		seen[namespace] = one.decision.Seen
		out.Judged = max(out.Judged, one.decision.Seen.Judged())
	}
	return event / eventsEach, look / eventsEach, nil
}

// read reads a namespace and decides about it.
func (t *town) read(ctx context.Context, namespace string) (seenAt, error) {
	o, err := t.reader.Read(ctx, namespace)
	return seenAt{o, decide.Act(o, now)}, err
}

// report does the rest of what the operator does, the audit included.
func (s seenAt) report() {
	s.decision.Weigh(s.observed)
	status.Compute(status.Input{Profile: s.decision.Profile, Observed: s.observed, Decision: s.decision, Now: now})
}

// processor is the time that this process has had of processors.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is the memory that this process holds, in MiB.
func resident() (int, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kib int
			_, err := fmt.Sscan(rest, &kib)
			return kib >> 10, err
		}
	}
	return 0, fmt.Errorf("no VmRSS")
}
