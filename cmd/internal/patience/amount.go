package patience

// raceCost is how many times as long SQLite takes under the race detector, which
// sees each of its loads and stores.
const raceCost = 20

// Amount is n, or under the race detector what takes about as long there, but not
// less than least: what the test needs in order to test anything.
func Amount(n, least int) int {
	if race {
		return max(n/raceCost, least)
	}
	return n
}
