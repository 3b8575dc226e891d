// Package providers is the registry of meshes: it turns the name of a mesh and
// its data plane into the compiler for it.
//
// A new mesh is one line here. It must never hold anything that only one mesh
// needs; that lives in the mesh's own folder.
package providers
