// Package corpus holds the audit beside istioctl analyze: small clusters, each
// with one thing wrong or none, that both look at. Adding a cluster needs no Go:
//
//	testdata/common/*.yaml             what every cluster has
//	testdata/clusters/<situation>/
//	    in.yaml           the first line says what is wrong; objects of its own
//	    *.yaml            more of them; a file of a name in common takes that one's place
//	    out/findings.yaml   written: what the audit finds
//	    out/resources.yaml  written: what the operator writes there, if anything
//	    out/istioctl.yaml   written: what istioctl says of all of it
//	testdata/reasons.yaml              why one of the two is silent
//
// `make golden` writes what is ours, and the page that compares the two; `make
// golden-istio` what istioctl says as well. A situation whose name begins with
// good- has nothing wrong, and neither may find anything.
package corpus
