package mesh

import (
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"
)

// firstError is the lowest status of HTTP that tells of an error.
const firstError = 400

// ToHTTPS says whether a route sends callers to HTTPS.
func ToHTTPS(r *networkingapi.HTTPRoute) bool {
	return strings.EqualFold(r.GetRedirect().GetScheme(), "https")
}

// Refuses says whether a route answers every request by an error, and leads none on.
func Refuses(r *networkingapi.HTTPRoute) bool {
	abort := r.GetFault().GetAbort()
	return r.GetDirectResponse().GetStatus() >= firstError || (abort.GetPercentage().GetValue() >= 100 && abort.GetHttpStatus() >= firstError)
}
