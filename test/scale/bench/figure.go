package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"

	"github.com/meshsecurity/mesh-security-operator/test/scale/measure"
)

// result is what was measured.
type result struct {
	figures []measure.Figure
	plots   map[string]string // SVG by name
}

// benchmark measures one or several figures on a cluster on which every profile
// is in force and neither the operator nor the floor runs; it leaves it so.
type benchmark struct {
	name    string
	figures []string // by their names
	measure func(context.Context, *cluster) (result, error)
	// alone measures without a cluster, in the place of measure. dir is for
	// binaries.
	alone func(ctx context.Context, s settings, dir string) (result, error)
}

// benchmarks in the order in which they are run.
var benchmarks = []benchmark{
	// How many requests it takes to put profiles in force: one an object, one
	// status a profile, and one finalizer a profile, which is needed before the
	// first object is written.
	{name: "requests", figures: []string{"requests"}, measure: requests},
	// How long somebody's change of an object lasts: from when an observer's
	// watch shows the change to when the same watch shows it undone. Changes come
	// at a steady rate, half of what the operator can undo.
	{name: "heal", figures: []string{"heal p50", "heal p99", "heal CPU"}, measure: heal},
	// What is sent when nothing happens, and when everything is looked at again.
	{name: "steady", figures: []string{"steady", "resync"}, measure: steady},
	// How long a start takes until everything is read, where everything is in
	// force, next to informers of the same kinds; and what it writes: nothing.
	{name: "restart", figures: []string{"restart", "restart CPU", "restart writes"}, measure: restart},
	// How long it takes from when profiles are created until the last one is in
	// force, next to the same requests sent with no logic.
	{name: "converge", figures: []string{"converge", "converge CPU"}, measure: converges},
	// How long it takes from an edit of one mandate until it is in force in every
	// namespace, next to the same requests sent with no logic; what such an edit
	// writes, besides statuses; what one writes that changes nothing; and at how
	// many namespaces the operator looks for an event in one.
	{name: "edit", figures: []string{"edit", "edit CPU", "edit writes", "edit of nothing", "one event"}, measure: edit},
	// What the audit takes of the processor and of memory, in a cluster that is
	// held in memory alone: one look at every namespace, and one at a namespace
	// after a pod's event, next to the same in a cluster of a tenth; and at how
	// many workloads it looks then, also in a namespace of a thousand pods.
	{name: "audit", figures: []string{"audit full", "audit event", "audit workloads", "audit memory"}, alone: audits},
}

func measureAll(ctx context.Context, s settings, choice *regexp.Regexp) (all result, err error) {
	var chosen []benchmark
	for _, b := range benchmarks {
		if choice.MatchString(b.name) {
			chosen = append(chosen, b)
		}
	}
	if len(chosen) == 0 {
		return all, nil
	}
	dir, err := os.MkdirTemp("", "mesh-security-bench-")
	if err != nil {
		return all, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var c *cluster
	if slices.ContainsFunc(chosen, func(b benchmark) bool { return b.alone == nil }) {
		if c, err = startCluster(ctx, s, dir); err != nil {
			return all, err
		}
		defer func() { err = errors.Join(err, c.Stop()) }()
	}
	all.plots = map[string]string{}
	for _, b := range chosen {
		var one result
		if b.alone != nil {
			one, err = b.alone(ctx, s, dir)
		} else {
			one, err = b.measure(ctx, c)
		}
		if err != nil {
			return all, fmt.Errorf("%s: %w", b.name, err)
		}
		all.figures = append(all.figures, one.figures...)
		for name, plot := range one.plots {
			all.plots[name] = plot
		}
	}
	return all, nil
}
