package redis

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Mode is how the servers stand to each other.
type Mode uint8

// The modes.
const (
	Standalone Mode = iota
	Sentinel
	Cluster
)

// Options says which Redis to use, and as whom. Its text forms hold no
// password.
type Options struct {
	Mode Mode
	// Addrs are the host:port of the server, of the sentinels, or of some
	// nodes of the cluster.
	Addrs []string
	// Master is the name under which the sentinels know the master.
	Master string
	// DB is the number of the database; 0 in a cluster.
	DB int
	// Username and Password are those of the ACL user; both may be empty.
	Username, Password string
	// SentinelUsername and SentinelPassword are for the sentinels themselves.
	SentinelUsername, SentinelPassword string
	// TLS encrypts every connection. It is always verified.
	TLS bool
	// ServerName is what the certificates are checked for; "" is the host of
	// each address.
	ServerName string
	// CAFile holds the certificates to trust instead of the system's.
	CAFile string
	// CertFile and KeyFile are the client's certificate, where one is asked for.
	CertFile, KeyFile string
}

// schemes are the forms of a URL.
var schemes = map[string]struct {
	mode Mode
	tls  bool
}{
	"redis":           {Standalone, false},
	"rediss":          {Standalone, true},
	"redis+sentinel":  {Sentinel, false},
	"rediss+sentinel": {Sentinel, true},
	"redis+cluster":   {Cluster, false},
	"rediss+cluster":  {Cluster, true},
}

// Parse reads a URL. Its forms, each with rediss for TLS:
//
//	redis://[user:password@]host[:6379][/db]
//	redis+sentinel://[user:password@]host[:26379],host…/master[/db]
//	redis+cluster://[user:password@]host[:6379],host…
//
// The forms of go-redis are read too: redis://host?addr=host2 is a cluster,
// redis://host?master_name=name&addr=host2 is behind Sentinel.
//
// Further parameters: ca_file, cert_file, key_file and server_name with TLS,
// sentinel_username and sentinel_password with Sentinel, db. An unknown one is
// an error. No error quotes the URL, which may hold a password.
func Parse(text string) (Options, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	form, known := schemes[scheme]
	if !ok || !known {
		return Options{}, errors.New("redis URL: want redis://, rediss://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://")
	}
	o := Options{Mode: form.mode, TLS: form.tls}
	// net/url takes one host only, so the hosts are read here.
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		var err error
		if o.Username, o.Password, err = parseUser(authority[:at]); err != nil {
			return Options{}, err
		}
		authority = authority[at+1:]
	}
	if strings.ContainsAny(rest, "@#") {
		return Options{}, errors.New("redis URL: a / ? or # in the password is written %2F %3F or %23")
	}
	u, err := url.Parse(rest)
	if err != nil {
		return Options{}, errors.New("redis URL: the path or the parameters are malformed")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Options{}, errors.New("redis URL: the parameters are malformed")
	}
	hosts := append(strings.Split(authority, ","), query["addr"]...)
	query.Del("addr")
	if err := o.readQuery(query); err != nil {
		return Options{}, err
	}
	if o.Mode == Standalone && len(hosts) > 1 {
		o.Mode = Cluster
	}
	if err := o.readPath(u.Path); err != nil {
		return Options{}, err
	}
	port := "6379"
	if o.Mode == Sentinel {
		port = "26379"
	}
	for _, host := range hosts {
		addr, err := parseAddr(host, port)
		if err != nil {
			return Options{}, err
		}
		o.Addrs = append(o.Addrs, addr)
	}
	return o, o.check()
}

func parseUser(info string) (name, password string, err error) {
	name, password, _ = strings.Cut(info, ":")
	if name, err = url.PathUnescape(name); err == nil {
		password, err = url.PathUnescape(password)
	}
	if err != nil {
		return "", "", errors.New("redis URL: user or password is not percent-encoded properly")
	}
	return name, password, nil
}

func (o *Options) readQuery(query url.Values) error {
	for name, values := range query {
		into := map[string]*string{
			"master_name": &o.Master, "server_name": &o.ServerName, "ca_file": &o.CAFile, "cert_file": &o.CertFile,
			"key_file": &o.KeyFile, "sentinel_username": &o.SentinelUsername, "sentinel_password": &o.SentinelPassword,
		}[name]
		switch {
		case len(values) != 1:
			return fmt.Errorf("redis URL: parameter %s is there %d times", name, len(values))
		case name == "db":
			if err := o.readDB(values[0]); err != nil {
				return err
			}
		case into == nil:
			return fmt.Errorf("redis URL: unknown parameter %q", name)
		default:
			*into = values[0]
		}
	}
	if o.Master != "" && o.Mode == Standalone {
		o.Mode = Sentinel
	}
	return nil
}

func (o *Options) readPath(path string) error {
	segments := strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
	if o.Mode == Sentinel && o.Master == "" && len(segments) > 0 {
		o.Master, segments = segments[0], segments[1:]
	}
	switch len(segments) {
	case 0:
		return nil
	case 1:
		return o.readDB(segments[0])
	default:
		return errors.New("redis URL: the path is longer than expected")
	}
}

func (o *Options) readDB(text string) error {
	db, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return errors.New("redis URL: the database is not a number")
	}
	o.DB = int(db)
	return nil
}

func parseAddr(host, port string) (string, error) {
	if h, p, err := net.SplitHostPort(host); err == nil {
		host, port = h, p
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("redis URL: a port is not a number from 1 to 65535")
	}
	if host == "" {
		return "", errors.New("redis URL: a host is missing")
	}
	if ip, err := netip.ParseAddr(host); !plain(host) && (err != nil || ip.Zone() != "") {
		return "", errors.New("redis URL: a host is neither a name nor an IP address")
	}
	return net.JoinHostPort(host, port), nil
}

// plain tells whether a name is of the characters that hosts and masters have.
func plain(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
	return !strings.ContainsFunc(name, func(c rune) bool { return !strings.ContainsRune(letters, c) })
}

// check holds what was read against the mode.
func (o *Options) check() error {
	switch {
	case o.Mode == Sentinel && o.Master == "":
		return errors.New("redis URL: with Sentinel the path names the master: redis+sentinel://host:26379/mymaster")
	case !plain(o.Master):
		return errors.New("redis URL: the master's name has other characters than letters, digits, . - and _")
	case o.Mode != Sentinel && o.Master != "":
		return errors.New("redis URL: master_name is for Sentinel")
	case o.Mode != Sentinel && o.SentinelUsername+o.SentinelPassword != "":
		return errors.New("redis URL: sentinel_username and sentinel_password are for Sentinel")
	case o.Mode == Cluster && o.DB != 0:
		return errors.New("redis URL: a cluster has only database 0")
	case !o.TLS && o.ServerName+o.CAFile+o.CertFile+o.KeyFile != "":
		return errors.New("redis URL: server_name, ca_file, cert_file and key_file need rediss")
	case (o.CertFile == "") != (o.KeyFile == ""):
		return errors.New("redis URL: cert_file and key_file come together")
	}
	return nil
}

// String is the URL without passwords.
func (o Options) String() string {
	var b strings.Builder
	b.WriteString(map[bool]string{false: "redis", true: "rediss"}[o.TLS])
	b.WriteString(map[Mode]string{Standalone: "", Sentinel: "+sentinel", Cluster: "+cluster"}[o.Mode])
	b.WriteString("://")
	if o.Username != "" || o.Password != "" {
		b.WriteString(url.PathEscape(o.Username) + ":***@")
	}
	b.WriteString(strings.Join(o.Addrs, ","))
	if o.Master != "" {
		b.WriteString("/" + o.Master)
	}
	if o.DB != 0 {
		b.WriteString("/" + strconv.Itoa(o.DB))
	}
	return b.String()
}

// GoString is String.
func (o Options) GoString() string { return o.String() }

// LogValue is String.
func (o Options) LogValue() slog.Value { return slog.StringValue(o.String()) }

// MarshalText is String.
func (o Options) MarshalText() ([]byte, error) { return []byte(o.String()), nil }
