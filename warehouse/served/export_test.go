package served

// EncodeBatch lets tests speak to the handler without a Client.
var EncodeBatch = encodeBatch
