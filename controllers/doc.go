// Package controllers is the imperative shell: it watches, calls the pure
// packages, writes what they decided, and is the only place where concrete
// parts meet.
//
//	watch events ─▶ queue of namespaces ─▶ NamespaceReconciler
//	                                        observe  snapshot.Reader
//	                                        decide   decide.Act
//	                                        act      apply.Writer
//	                                        report   Decision.Weigh, status, events, metrics
//
// The queue's key is a namespace: a storm of events in one namespace is one item.
package controllers
