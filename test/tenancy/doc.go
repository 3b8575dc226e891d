// Package tenancy tries to escape from a namespace: hostile profiles, past
// everything that the CRD would refuse, through the compiler to the writer.
package tenancy
