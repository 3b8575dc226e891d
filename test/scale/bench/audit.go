package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"

	"github.com/meshsecurity/mesh-security-operator/test/operator"
	"github.com/meshsecurity/mesh-security-operator/test/scale/measure"
)

// audited is what test/scale/audit prints, by its names there.
type audited struct {
	Pods, Objects, Judged, Findings, RSS int
	Full, Event, Look                    []float64
}

// podsEach is how many pods a namespace has in the figures of the audit.
const podsEach = 10

// audits measures the audit in clusters of three shapes.
func audits(ctx context.Context, s settings, dir string) (out result, err error) {
	program, err := operator.BuildPackage(ctx, dir, "audit", "./test/scale/audit")
	if err != nil {
		return out, err
	}
	at := func(namespaces, workloads, replicas, runs int) (a audited, err error) {
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, program, "-namespaces", strconv.Itoa(namespaces),
			"-workloads", strconv.Itoa(workloads), "-replicas", strconv.Itoa(replicas), "-runs", strconv.Itoa(runs))
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			return a, fmt.Errorf("audit: %w\n%s", err, stderr.String())
		}
		return a, json.Unmarshal(stdout.Bytes(), &a)
	}
	tenth, err := at(max(s.namespaces/10, 1), 5, podsEach/5, s.runs)
	if err != nil {
		return out, err
	}
	whole, err := at(s.namespaces, 5, podsEach/5, s.runs)
	if err != nil {
		return out, err
	}
	crowd, err := at(1, 100, 10, s.runs)
	if err != nil {
		return out, err
	}
	event := measure.Ratio("audit event", "µs", whole.Event, tenth.Event)
	event.Note = fmt.Sprintf("%.3g µs in a namespace of %d pods; all of a look but writing: %.3g and %.3g µs",
		measure.Median(crowd.Event), crowd.Pods, measure.Median(whole.Look), measure.Median(crowd.Look))
	out.figures = []measure.Figure{
		{Name: "audit full", Unit: "s for 100000 pods", Value: measure.Median(whole.Full) * 100_000 / float64(whole.Pods),
			Note: fmt.Sprintf("%d pods in %d namespaces", whole.Pods, s.namespaces)},
		event,
		{Name: "audit workloads", Unit: "an event", Value: float64(max(tenth.Judged, whole.Judged, crowd.Judged))},
		{Name: "audit memory", Unit: "MiB", Value: float64(whole.RSS), Note: fmt.Sprintf("%d pods and %d objects of the mesh as the cache has them", whole.Pods, whole.Objects)},
	}
	return out, nil
}
