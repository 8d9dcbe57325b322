"""Evidence to better policy: proposals, the gate that judges them, and the record of every one tried."""
