#!/bin/sh
# generate.sh DIRECTORY  writes introspection.pb.go there, with protoc and the plugin of go.mod.
set -e
plugin=$(mktemp -d)
trap 'rm -r "$plugin"' EXIT
go build -o "$plugin" google.golang.org/protobuf/cmd/protoc-gen-go
protoc --plugin="$plugin/protoc-gen-go" --proto_path=../.. --go_out="$1" --go_opt=paths=source_relative \
	--go_opt=Mintrospection.proto=introspectd/publishers/go-libp2p/introspection introspection.proto
