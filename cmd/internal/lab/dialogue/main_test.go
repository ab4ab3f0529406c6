package dialogue_test

import (
	"os"
	"testing"

	"ftpinhole/cmd/internal/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }
