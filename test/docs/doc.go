// Package docs runs the documentation: README.md and every page below docs/,
// but for docs/reference, which is generated.
//
// The pages run one after the other, README.md first, on a real control plane.
// Before each page the cluster is as the pages suppose: the operator installed
// from config/default and told that NetworkPolicy is enforced, the sample shop
// from config/samples/shop.yaml running, and no profile. README.md itself finds
// neither operator nor shop, since it installs them. What stands in for the
// rest of a cluster is in cluster_test.go.
//
// A page is written in Markdown, and each of its fences says by its info string
// what it is:
//
//	sh                 commands, without a prompt, run by bash in the order of
//	                   the page; each has to succeed. The working folder is a
//	                   scratch folder with links to config/, dist/ and docs/, the
//	                   same for the whole page. Variables do not outlive their
//	                   fence.
//	sh fails           the same, and it has to fail: what is shown is refused.
//	sh no-test=REASON  not run. REASON, a few words joined by '-', says why.
//	text output        lines that the sh fence right before it prints. Runs of
//	                   blanks are alike, and '…' stands for anything. While only
//	                   reading commands are in that fence, they are repeated for
//	                   a while: what the operator reports takes a moment.
//	text               anything else; it must not hold commands.
//	yaml               a whole manifest: a strict server-side dry run has to
//	                   accept it.
//	yaml file=NAME     the same, and the commands after it find it as NAME. The
//	                   page tells its reader to save it so.
//	yaml in=PATH       a part of a profile, put at PATH (like
//	                   spec.authorization.rules) into a profile that is accepted
//	                   without it.
//	yaml no-test=…     neither.
//
// Two commands are not run as they are. make is checked with --dry-run, so that
// the targets exist. "go run ." and bin/manager, which would run until they are
// stopped, are run with --version added, so that the flags exist.
//
// Besides, relative links and anchors have to lead somewhere, and tables that
// repeat what the code says (conditions and reasons, verdicts, flags, metrics,
// roles) are compared with the code.
//
//	go test ./test/docs -run 'TestPages/docs/how-to/drift.md'
package docs
