package redis_test

import (
	"fmt"

	"cmux.sh/edge/internal/catalog/redis"
)

func ExampleParse() {
	o, err := redis.Parse("rediss+sentinel://edge:secret@s1,s2,s3/mymaster?ca_file=/etc/edge/redis-ca.pem")
	fmt.Println(o, err)
	_, err = redis.Parse("redis://edge:s/cret@10.0.0.9")
	fmt.Println(err)
	// Output:
	// rediss+sentinel://edge:***@s1:26379,s2:26379,s3:26379/mymaster <nil>
	// redis URL: a / ? or # in the password is written %2F %3F or %23
}
