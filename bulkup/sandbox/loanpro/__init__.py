"""The stand-in for LoanPro."""
