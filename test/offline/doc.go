// Package offline has a cluster of internal/offline reconciled as the controller
// would: what is decided is written, and read again.
//
// It must never be imported by the product.
package offline
