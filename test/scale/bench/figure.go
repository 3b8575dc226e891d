package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"

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
}

// benchmarks in the order in which they are run.
var benchmarks = []benchmark{
	// How many requests it takes to put profiles in force: one an object, one
	// status a profile, and one finalizer a profile, which is needed before the
	// first object is written.
	{"requests", []string{"requests"}, requests},
	// How long somebody's change of an object lasts: from when an observer's
	// watch shows the change to when the same watch shows it undone. Changes come
	// at a steady rate, half of what the operator can undo.
	{"heal", []string{"heal p50", "heal p99", "heal CPU"}, heal},
	// What is sent when nothing happens, and when everything is looked at again.
	{"steady", []string{"steady", "resync"}, steady},
	// How long a start takes until everything is read, where everything is in
	// force, next to informers of the same kinds; and what it writes: nothing.
	{"restart", []string{"restart", "restart CPU", "restart writes"}, restart},
	// How long it takes from when profiles are created until the last one is in
	// force, next to the same requests sent with no logic.
	{"converge", []string{"converge", "converge CPU"}, converges},
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
	c, err := startCluster(ctx, s, dir)
	if err != nil {
		return all, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	all.plots = map[string]string{}
	for _, b := range chosen {
		one, err := b.measure(ctx, c)
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
