package mirror

func runChild() {}
