package outbox

// Claim is the statement, for a look at how it is planned.
const Claim = claim
