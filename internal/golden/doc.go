// Package golden runs every case of testdata/cases through the whole core, from
// the objects of a cluster to resources and status, and compares with what was
// reviewed. Everything is written, and then looked at again: the second look
// must find nothing to do. Adding a case needs no Go:
//
//	testdata/base.yaml                 a cluster that every case starts from
//	testdata/cases/<situation>/
//	    in.yaml          objects added to it, or in place of one of the same kind and name;
//	                     annotation golden/absent: "true" takes one away
//	    operator.yaml    optional: what the operator is told by flags
//	    posture.yaml     written: what the profile resolves to
//	    resources.yaml   written: what is to be in the cluster
//	    status.yaml      written: what is said about it once everything is written
//	    cluster.yaml     written, where there is something: findings about the cluster as a whole
//
// UPDATE_GOLDEN=1 writes the last four. They are reviewed together: a verdict
// of Enforced has to be true of the resources beside it.
package golden
