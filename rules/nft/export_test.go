package nft

// Print is what Verify compares.
func Print(t *Table) (string, error) { return t.print() }
