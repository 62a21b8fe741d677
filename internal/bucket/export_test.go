package bucket

// BySDK makes b do everything by the SDK.
func (b *Bucket) BySDK() { b.where = nil }
