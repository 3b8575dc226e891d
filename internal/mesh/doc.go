// Package mesh names what every mesh provider turns a posture into, and lists
// the providers. A provider is one folder below it and one line in the registry.
//
// Providers are pure: they must never read the cluster, and their output is the
// same bytes for the same input.
package mesh
