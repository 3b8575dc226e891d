// Package architecture holds the packages to who may import what, as
// docs/architecture.md has it. golangci-lint's depguard says so of single
// files; this looks at everything that a package pulls in.
package architecture
