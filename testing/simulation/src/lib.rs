//! The whole core on fakes: crash after every port call, replay, compare.
