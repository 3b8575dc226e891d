package facts

import (
	"fmt"
	"net"
	"strings"
)

// DefaultClusterCIDRs are the ranges that count as inside the cluster's network
// where nobody says otherwise: private, shared, link-local and unique local ones
// (RFC 1918, 6598, 3927, 4193, 4291).
func DefaultClusterCIDRs() []string {
	return []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10"}
}

// Tell takes over what flags say of the network: enforced of
// --network-policy-enforced, which is true, false or empty, and the ranges of
// --cluster-cidrs. An error names the flag and what is wrong with it.
func (n *Network) Tell(enforced string, cidrs []string) error {
	switch enforced {
	case "":
		n.PolicyEnforced = Unknown
	case "true":
		n.PolicyEnforced = Yes
	case "false":
		n.PolicyEnforced = No
	default:
		return fmt.Errorf("--network-policy-enforced is %q: it must be true, false or empty", enforced)
	}
	n.ClusterCIDRs = nil
	for _, c := range cidrs {
		_, block, err := net.ParseCIDR(strings.TrimSpace(c))
		if err != nil {
			return fmt.Errorf("--cluster-cidrs: %q is not an address range like 10.0.0.0/8", c)
		}
		n.ClusterCIDRs = append(n.ClusterCIDRs, block.String())
	}
	return nil
}
