"""Why a call was refused, and the hint."""
