package lab_test

import (
	"os"
	"testing"
	"time"

	"ftpinhole/cmd/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// transferLimit is far more than any transfer of these files takes.
const transferLimit = 15 * time.Second
