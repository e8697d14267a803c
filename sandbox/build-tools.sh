#!/usr/bin/env bash
# Builds the real programs that the sandbox runs (API server, etcd, Helm,
# Prometheus, Loki, ...) from Go modules, into the tool cache.
#
# Which version of what is pinned in tools/<family>/go.mod and go.sum. Each
# family has a go.mod of its own because the programs pin different versions
# of the same libraries; with one go.mod for all of them they would be built
# with libraries that their authors never tested.
set -euo pipefail
export LC_ALL=C

usage() {
  cat <<'EOF'
usage: build-tools.sh [--list | --check] [PROGRAM | FAMILY]...

Builds the programs the sandbox needs. What is built and up to date is left
alone; an interrupted run goes on where it stopped. Without names: all but
helmfile, which only the benchmark needs.

  --list    print name, version and path of each program; builds nothing
  --check   exit 1 and list the programs that are missing or out of date
  --help    this text

The programs go to $DRIVEMASTER_MON_TOOLS/bin, by default
${XDG_CACHE_HOME:-$HOME/.cache}/drivemaster-mon/tools/bin. Building needs Go
and a Go module proxy (GOPROXY is respected); using the programs needs neither.
EOF
}

die() {
  printf 'build-tools: %s\n' "$*" >&2
  exit 1
}

# ---------------------------------------------------------------------------
# What there is to build

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
modules=$here/tools

# In build order: Helm and etcd are quick and the control plane is what
# everything else waits for.
families=(helm helm3 etcd kubernetes prometheus alertmanager operator loki collector jaeger chaos alloy helmfile)
# What only the benchmark needs, and is built when it is asked for by name.
peers=(helmfile)

# Cold, on 2 cores, downloads included.
declare -A usual=(
  [helm]='2 min' [helm3]='1 min' [etcd]='1 min' [kubernetes]='7 min' [prometheus]='5 min' [alertmanager]='1 min'
  [operator]='3 min' [loki]='6 min' [collector]='4 min' [jaeger]='5 min' [chaos]='3 min' [alloy]='5 min'
  [helmfile]='6 min'
)

# One line for each program: name, family, module that carries its version,
# package.
table='
helm                       helm         helm.sh/helm/v4                                    helm.sh/helm/v4/cmd/helm
helm3                      helm3        helm.sh/helm/v3                                    helm.sh/helm/v3/cmd/helm
etcd                       etcd         go.etcd.io/etcd/server/v3                          go.etcd.io/etcd/server/v3
kube-apiserver             kubernetes   k8s.io/kubernetes                                  k8s.io/kubernetes/cmd/kube-apiserver
kube-controller-manager    kubernetes   k8s.io/kubernetes                                  k8s.io/kubernetes/cmd/kube-controller-manager
kube-scheduler             kubernetes   k8s.io/kubernetes                                  k8s.io/kubernetes/cmd/kube-scheduler
kwok                       kubernetes   sigs.k8s.io/kwok                                   sigs.k8s.io/kwok/cmd/kwok
kubectl                    kubernetes   k8s.io/kubernetes                                  k8s.io/kubernetes/cmd/kubectl
prometheus                 prometheus   github.com/prometheus/prometheus                   github.com/prometheus/prometheus/cmd/prometheus
promtool                   prometheus   github.com/prometheus/prometheus                   github.com/prometheus/prometheus/cmd/promtool
alertmanager               alertmanager github.com/prometheus/alertmanager                 github.com/prometheus/alertmanager/cmd/alertmanager
amtool                     alertmanager github.com/prometheus/alertmanager                 github.com/prometheus/alertmanager/cmd/amtool
prometheus-operator        operator     github.com/prometheus-operator/prometheus-operator github.com/prometheus-operator/prometheus-operator/cmd/operator
prometheus-config-reloader operator     github.com/prometheus-operator/prometheus-operator github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader
loki                       loki         github.com/grafana/loki/v3                         github.com/grafana/loki/v3/cmd/loki
otelcol                    collector    go.opentelemetry.io/collector/otelcol              drivemaster-mon/sandbox/tools/collector
jaeger                     jaeger       github.com/jaegertracing/jaeger                    github.com/jaegertracing/jaeger/cmd/jaeger
chaos-controller-manager   chaos        github.com/chaos-mesh/chaos-mesh                   github.com/chaos-mesh/chaos-mesh/cmd/chaos-controller-manager
alloy                      alloy        github.com/grafana/alloy                           drivemaster-mon/sandbox/tools/alloy
helmfile                   helmfile     github.com/helmfile/helmfile                       github.com/helmfile/helmfile
'

names=()
declare -A family_of module_of package_of version_of goversion_of sums_of
while read -r name family module package; do
  [[ -n $name ]] || continue
  names+=("$name")
  family_of[$name]=$family
  module_of[$name]=$module
  package_of[$name]=$package
done <<<"$table"

# Prints the first version that go.mod file $1 requires of module $2.
required_version() {
  awk -v module="$2" '$1 == "require" { sub(/^require[ \t]+/, "") } $1 == module { print $2; exit }' "$1"
}

read_modules() {
  local family name version sums code
  shopt -s nullglob
  for family in "${families[@]}"; do
    goversion_of[$family]=$(awk '$1 == "go" { print $2; exit }' "$modules/$family/go.mod")
    code=("$modules/$family"/*.go)
    sums=$(cat "$modules/$family/go.mod" "$modules/$family/go.sum" "${code[@]}" | sha256sum)
    sums_of[$family]=${sums%% *}
  done
  shopt -u nullglob
  for name in "${names[@]}"; do
    version=$(required_version "$modules/${family_of[$name]}/go.mod" "${module_of[$name]}")
    [[ $version =~ ^v([0-9]+)\.([0-9]+)\.([0-9]+) ]] ||
      die "tools/${family_of[$name]}/go.mod requires no version of ${module_of[$name]}"
    case ${family_of[$name]} in
      # Prometheus 3.14.0 is the Go module version v0.314.0: its module path has
      # no /v3, so Go would refuse a v3 tag.
      prometheus) version=v$((BASH_REMATCH[2] / 100)).$((BASH_REMATCH[2] % 100)).${BASH_REMATCH[3]} ;;
      # Jaeger 1 and 2 were released from the same commits: v1.76.0 is also
      # Jaeger 2.13.0, and v1.63.0 was 2.0.0.
      jaeger) version=v2.$((BASH_REMATCH[2] - 63)).${BASH_REMATCH[3]} ;;
    esac
    version_of[$name]=$version
  done
}

# ---------------------------------------------------------------------------
# How it is built

# Plain settings of our own, so that neither the environment nor a go.work
# somewhere above changes what comes out. GOPROXY and the like stay the user's.
unset GOOS GOARCH GOEXPERIMENT GODEBUG
export CGO_ENABLED=0 GO111MODULE=on GOWORK=off
# Never fetch another Go behind the user's back; too old a Go is said plainly.
export GOTOOLCHAIN=local
export GOFLAGS='-mod=readonly -buildvcs=false -trimpath'

# What the authors' release builds put in by linker flag; without it the
# programs do not know their version, and then for instance the API server
# says v0.0.0 and Helm's kubeVersion checks fail.
ldflags_of() {
  local name=$1 version=${version_of[$1]} flags='-s -w' package parts
  case ${module_of[$name]} in
    helm.sh/helm/v4)
      flags+=" -X helm.sh/helm/v4/internal/version.version=$version"
      ;;
    helm.sh/helm/v3)
      flags+=" -X helm.sh/helm/v3/internal/version.version=$version"
      ;;
    k8s.io/kubernetes)
      IFS=. read -r -a parts <<<"${version#v}"
      for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $package.gitVersion=$version -X $package.gitMajor=${parts[0]} -X $package.gitMinor=${parts[1]}"
        # Empty, for we do not know it: else an unexpanded "$Format:%H$" shows.
        flags+=" -X $package.gitCommit="
      done
      ;;
    sigs.k8s.io/kwok)
      flags+=" -X sigs.k8s.io/kwok/pkg/consts.Version=$version"
      ;;
    github.com/prometheus/* | github.com/prometheus-operator/*)
      flags+=" -X github.com/prometheus/common/version.Version=${version#v}"
      ;;
    github.com/grafana/loki/v3)
      flags+=" -X github.com/grafana/loki/v3/pkg/util/build.Version=${version#v}"
      ;;
    go.opentelemetry.io/*)
      flags+=" -X main.version=${version#v}"
      ;;
    github.com/grafana/alloy)
      flags+=" -X github.com/grafana/alloy/internal/build.Version=$version"
      ;;
    github.com/jaegertracing/jaeger)
      flags+=" -X github.com/jaegertracing/jaeger/internal/version.latestVersion=$version"
      ;;
    github.com/chaos-mesh/chaos-mesh)
      package=github.com/chaos-mesh/chaos-mesh/pkg/version
      flags+=" -X $package.gitVersion=$version -X $package.gitCommit="
      ;;
    github.com/helmfile/helmfile)
      flags+=" -X go.szostok.io/version.version=$version"
      ;;
    go.etcd.io/*) ;; # a constant in its source
  esac
  printf '%s\n' "$flags"
}

# Alertmanager embeds a web UI that only its release process makes, so the
# module has no such folder and does not compile. An overlay over the module
# cache is refused by Go; a vendored copy in the cache may be completed.
# -e because `go mod vendor` stumbles over the same missing folder.
# The page is never shown (it is served compressed only); the API is whole.
readonly alertmanager_page='built without web UI'
vendor_alertmanager() {
  local dir=$1 dist=vendor/github.com/prometheus/alertmanager/ui/app/dist
  rm -rf -- "$dir"
  mkdir -p -- "$dir"
  cp -- "$modules/alertmanager/go.mod" "$modules/alertmanager/go.sum" "$dir/"
  cd -- "$dir"
  go mod vendor -e
  mkdir -p -- "$dist"
  printf '%s\n' "$alertmanager_page" >"$dist/index.html"
}

# Whole, Alloy is a thousand modules, and some that it pins cannot be had. What a
# log pipeline does not need is cut out of a copy of its sources: the other
# components, the converters of other programs' configurations, and what of the
# core only those use. A configuration that names another component is refused.
cut_alloy() {
  local dir=$1 source list kept=(
    discovery/kubernetes discovery/relabel
    local/file local/file_match
    loki/echo loki/process loki/relabel loki/write
    loki/source/api loki/source/file loki/source/kubernetes loki/source/kubernetes_events
    remote/kubernetes/configmap remote/kubernetes/secret
  )
  rm -rf -- "$dir"
  mkdir -p -- "$dir"
  cp -- "$modules"/alloy/{go.mod,go.sum,main.go} "$dir/"
  cd -- "$dir"
  go mod download github.com/grafana/alloy # with -json an error would go unseen
  source=$(go mod download -json github.com/grafana/alloy | sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p')
  cp -R -- "$source" alloy
  chmod -R u+w alloy
  go mod edit -replace github.com/grafana/alloy=./alloy
  (
    cd -- alloy/internal
    list=$(IFS='|' && printf '%s' "${kept[*]}")
    sed -i -E "/internal\/component\//{\\#/internal/component/($list)\"#!d}" component/all/all.go
    # A component that was renamed is to be noticed here, not when it is missed.
    [[ $(grep -c internal/component/ component/all/all.go) == "${#kept[@]}" ]] || {
      printf 'component/all/all.go has not each of: %s\n' "${kept[*]}"
      exit 1
    }
    sed -i -E '\#/converter/internal/#d; /^\tcase Input/,/^\t\treturn/d' converter/converter.go
    sed -i -E '\#^\t_ ".*(/install|/consulagent)"#d' ../flowcmd/flowcmd.go
    sed -i -E '/^\t_ "/d; /^var \(/,/^\)/c var otelFeatureGates []gateDetails' util/otel_feature_gate.go
    rm component/otelcol/config_{controller,scrape,stanza_receivers}.go
    cd component/pyroscope/write/debuginfo
    rm upload.go
    sed -i '/^\/\/go:build/d' stub.go # which stands in for upload.go on other systems
  )
}

# Compiles program $1 to file $2. Runs in a subshell of its own.
compile() {
  local name=$1 out=$2 family=${family_of[$1]}
  case $family in
    alertmanager)
      vendor_alertmanager "$cache/build/alertmanager"
      export GOFLAGS="${GOFLAGS/-mod=readonly/-mod=vendor}"
      ;;
    alloy) cut_alloy "$cache/build/alloy" ;;
    *) cd -- "$modules/$family" ;;
  esac
  exec go build -o "$out" -ldflags "$(ldflags_of "$name")" "${package_of[$name]}"
}

# A program that does not start, or takes itself for another version, is not
# fit for use however well it compiled.
says_its_version() {
  local name=$1 file=$2 args=(--version) said
  case $name in
    helm | helm3) args=(version --short) ;;
    kubectl) args=(version --client) ;;
  esac
  said=$(KUBECONFIG=/dev/null "$file" "${args[@]}" 2>&1) || {
    printf '%s\n' "$said"
    return 1
  }
  # Whole, lest 1.2.3-devel or 1.2.30 pass for 1.2.3.
  [[ $said =~ (^|[^0-9.])"${version_of[$name]#v}"($|[^-+.0-9A-Za-z]) ]] || {
    printf 'wanted version %s, but it says:\n%s\n' "${version_of[$name]}" "$said"
    return 1
  }
}

# ---------------------------------------------------------------------------
# What is built already
#
# stamps/<program> holds: digest of the inputs, Go version, size of the binary.

# Sets REPLY, as a subshell for each program would make the no-op run slow.
digest_of_inputs() {
  local name=$1 family=${family_of[$1]} change='' flags
  case $family in
    alertmanager) change=$alertmanager_page ;;
    alloy) change=$(declare -f cut_alloy) ;;
  esac
  flags=$(ldflags_of "$name")
  REPLY=$(printf '%s\n' "${sums_of[$family]}" "${package_of[$name]}" "$flags" "$GOFLAGS" "$CGO_ENABLED" "$change" | sha256sum)
  REPLY=${REPLY%% *}
}

# Sets REPLY to what is wrong with program $1; empty if nothing is.
# With no Go at hand, what an unknown Go built from the same inputs is fine.
state_of() {
  local name=$1 file=$cache/bin/$1 digest='' go='' size=''
  if [[ ! -x $file ]]; then
    REPLY=missing
    return
  fi
  [[ ! -r $cache/stamps/$name ]] || read -r digest go size <"$cache/stamps/$name" || true
  digest_of_inputs "$name"
  if [[ $digest != "$REPLY" || $size != "$(stat -c %s -- "$file")" || ($have_go != none && $go != "$have_go") ]]; then
    REPLY='out of date'
  else
    REPLY=''
  fi
}

find_go() {
  local said
  have_go=none
  if command -v go >/dev/null; then
    # From / because a go.mod that wants a newer Go makes even this fail.
    said=$(cd / && go env GOVERSION) || die "go is on PATH but does not run"
    # It may say more than the version ("devel go1.27-...", "go1.26.8 X:...").
    [[ $said =~ go[0-9][^[:space:]]* ]] || die "go on PATH says no version: $said"
    have_go=${BASH_REMATCH[0]}
  fi
}

need_go() {
  local name need=0
  for name in "$@"; do
    need=$(printf '%s\n%s\n' "$need" "${goversion_of[${family_of[$name]}]}" | sort -V | tail -n 1)
  done
  [[ $have_go != none ]] ||
    die "building needs Go $need or newer, and there is no go on PATH (see https://go.dev/dl/)"
  printf 'go%s\n%s\n' "$need" "$have_go" | sort -V -C ||
    die "building needs Go $need or newer, but go on PATH is ${have_go#go} (see https://go.dev/dl/)"
}

# ---------------------------------------------------------------------------
# Doing it

duration() {
  local s=$1
  if ((s < 60)); then printf '%ds' "$s"; else printf '%dm%02ds' $((s / 60)) $((s % 60)); fi
}

join() {
  local IFS=,
  REPLY=${*//,/}
  REPLY=${REPLY//,/, }
}

child=
stop() {
  trap - INT TERM HUP
  # It is a process group of its own, so that its compilers end with it.
  if [[ -n $child ]]; then
    kill -TERM -- "-$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
    rm -rf -- "$cache/build" || true
  fi
  printf '\nbuild-tools: interrupted; what was built is kept, the next run goes on from there\n' >&2
  exit "$1"
}

failed() {
  local what=$1 log=$2
  {
    printf 'build-tools: %s; the end of its log:\n' "$what"
    tail -n 20 -- "$log" | sed 's/^/  | /'
    printf 'whole log: %s\n' "$log"
  } >&2
  rm -rf -- "$cache/build"
  exit 1
}

build_program() {
  local name=$1 log=$cache/logs/$1.log out=$cache/build/$1.tmp started=$SECONDS
  printf '  %s %s ... ' "$name" "${version_of[$name]}"
  # In the background and waited for, so that a signal is acted upon at once
  # and not when the compiler has ended. Without the lock, lest a compiler that
  # lingers after a kill keep it.
  set -m
  (compile "$name" "$out") </dev/null >"$log" 2>&1 9>&- &
  child=$!
  set +m
  if ! wait "$child"; then
    child=
    printf 'failed\n'
    failed "building $name failed" "$log"
  fi
  child=
  if ! says_its_version "$name" "$out" >>"$log" 2>&1; then
    printf 'failed\n'
    failed "$name compiled, but does not run as it should" "$log"
  fi
  digest_of_inputs "$name"
  # The stamp goes away first and comes last: a kill in between means one more
  # build, never a stale program that counts as up to date.
  rm -f -- "$cache/stamps/$name"
  mv -f -- "$out" "$cache/bin/$name"
  printf '%s %s %s\n' "$REPLY" "$have_go" "$(stat -c %s -- "$cache/bin/$name")" >"$cache/stamps/$name.tmp"
  mv -f -- "$cache/stamps/$name.tmp" "$cache/stamps/$name"
  printf '%s\n' "$(duration $((SECONDS - started)))"
}

# Sets `todo` to those of the given programs that are not as they should be.
find_todo() {
  local name
  todo=()
  for name in "$@"; do
    state_of "$name"
    [[ -z $REPLY ]] || todo+=("$name")
  done
}

build() {
  local family name started list
  find_todo "$@"
  if ((${#todo[@]} == 0)); then
    join "$@"
    printf 'up to date in %s: %s\n' "$cache/bin" "$REPLY"
    return
  fi
  need_go "${todo[@]}"
  command -v flock >/dev/null || die "flock (of util-linux) is needed"

  mkdir -p -- "$cache"/{bin,logs,stamps}
  exec 9>"$cache/lock"
  if ! flock -n 9; then
    printf 'another build is running; waiting for it ...\n'
    flock 9
  fi
  find_todo "$@" # again: another run may just have done our work
  # What an interrupted run left behind. Go works in here too, because it does
  # not tidy up after itself when it is killed, and /tmp may be small.
  rm -rf -- "$cache/build"
  mkdir -p -- "$cache/build/go"
  export GOTMPDIR=$cache/build/go
  trap 'stop 130' INT
  trap 'stop 143' TERM
  trap 'stop 129' HUP

  for family in "${families[@]}"; do
    list=()
    for name in "${todo[@]}"; do
      [[ ${family_of[$name]} != "$family" ]] || list+=("$name")
    done
    ((${#list[@]} > 0)) || continue
    join "${list[@]}"
    printf 'building %s (%s; usually %s from nothing) ...\n' "$family" "$REPLY" "${usual[$family]}"
    started=$SECONDS
    for name in "${list[@]}"; do
      build_program "$name"
    done
    printf 'done in %s\n' "$(duration $((SECONDS - started)))"
  done
  rm -rf -- "$cache/build"
  join "$@"
  printf 'up to date in %s: %s\n' "$cache/bin" "$REPLY"
}

main() {
  local mode=build arg name wanted=() selected=() bad=0
  for arg in "$@"; do
    case $arg in
      -h | --help)
        usage
        exit 0
        ;;
      --list | --check)
        [[ $mode == build || $mode == "${arg#--}" ]] || die "--list and --check exclude each other"
        mode=${arg#--}
        ;;
      -*) die "unknown option $arg (try --help)" ;;
      *) wanted+=("$arg") ;;
    esac
  done

  for arg in ${wanted[@]+"${wanted[@]}"}; do
    [[ -n ${family_of[$arg]:-} || " ${families[*]} " == *" $arg "* ]] || {
      join "${families[@]}"
      name=$REPLY
      join "${names[@]}"
      die "no program or family is called '$arg'; families: $name; programs: $REPLY"
    }
  done
  for name in "${names[@]}"; do
    for arg in ${wanted[@]+"${wanted[@]}"}; do
      [[ $arg == "$name" || $arg == "${family_of[$name]}" ]] || continue
      selected+=("$name")
      break
    done
  done
  if ((${#wanted[@]} == 0)); then
    for name in "${names[@]}"; do
      [[ " ${peers[*]} " == *" ${family_of[$name]} "* ]] || selected+=("$name")
    done
  fi

  cache=${DRIVEMASTER_MON_TOOLS:-}
  if [[ -z $cache ]]; then
    [[ -n ${XDG_CACHE_HOME:-}${HOME:-} ]] || die "set DRIVEMASTER_MON_TOOLS (HOME is not set)"
    cache=${XDG_CACHE_HOME:-${HOME:-}/.cache}/drivemaster-mon/tools
  fi
  # We change folder to build.
  [[ $cache == /* ]] || cache=$PWD/$cache

  read_modules
  case $mode in
    list)
      for name in "${selected[@]}"; do
        printf '%s %s %s\n' "$name" "${version_of[$name]}" "$cache/bin/$name"
      done
      ;;
    check)
      find_go
      for name in "${selected[@]}"; do
        state_of "$name"
        [[ -n $REPLY ]] || continue
        printf '%s %s %s\n' "$name" "${version_of[$name]}" "$REPLY"
        bad=1
      done
      exit "$bad"
      ;;
    build)
      find_go
      build "${selected[@]}"
      ;;
  esac
}

# On one line: bash reads a script as it goes, and this one may be edited while
# it runs.
main "$@"; exit
