package resolver

// Sizes is how many records and unknown slugs are kept.
func Sizes(r *Resolver) (records, absent int) {
	r.cache.records.CleanUp()
	r.cache.absent.CleanUp()
	return r.cache.records.EstimatedSize(), r.cache.absent.EstimatedSize()
}
