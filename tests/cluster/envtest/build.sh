#!/usr/bin/env bash
# Builds etcd and the Kubernetes programs from their Go modules: build.sh FOLDER
#
# About five minutes on two cores, seconds once Go's cache has them. Versions and sums are those of go.mod and go.sum beside this file;
# k8s.io/kubernetes' staging modules are replaced there by their releases of the same version.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
version=$(sed -n 's/^.*k8s\.io\/kubernetes \(v[0-9.]*\)$/\1/p' "$here/kubernetes/go.mod" | head -n 1)
[ -n "$version" ] || { echo "envtest: kubernetes/go.mod names no version of k8s.io/kubernetes" >&2; exit 1; }
IFS=. read -r major minor _ <<<"${version#v}"
named=k8s.io/component-base/version
export CGO_ENABLED=0 GOFLAGS=-mod=readonly
echo "building etcd"
(cd "$here/etcd" && go build -trimpath -ldflags "-s -w" -o "$folder/etcd" go.etcd.io/etcd/server/v3)
echo "building Kubernetes $version, which takes minutes"
(cd "$here/kubernetes" && go build -trimpath -o "$folder/kubernetes" \
  -ldflags "-s -w -X $named.gitVersion=$version -X $named.gitMajor=$major -X $named.gitMinor=$minor" .)
for name in kube-apiserver kube-controller-manager kube-scheduler kubelet; do
  ln -sfn kubernetes "$folder/$name"
done
echo "KUBEBUILDER_ASSETS=$folder"
