package lab_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
	"ftpinhole/cmd/internal/patience"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// transferLimit is far more than any transfer of these files takes.
const transferLimit = patience.Limit

// inSeconds is a limit as curl takes it.
func inSeconds(limit time.Duration) string { return strconv.Itoa(int(limit.Seconds())) }
