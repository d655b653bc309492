package later

func machine() []*task { return nil }
