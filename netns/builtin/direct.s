// For functions without a body (direct.go).
