package conntrack

// CloseReasons are the reasons of Close records, all of them.
func CloseReasons() []Reason {
	return []Reason{
		Finished, Expired, Blocked, Replaced, Refused, SessionEnd, Encrypted, Logout,
		ClosedByOperator, Stopped, Lost, EndOfCapture,
	}
}

// DenyReasons are the reasons of Deny records but for the policy's.
func DenyReasons() []Reason {
	return []Reason{
		NotLoggedIn, Unrequested, Malformed, NotFTP, EPSVAll, OutOfStep,
		LimitSession, LimitClient, LimitTotal, KernelError, AuditUnavailable,
	}
}
