package admin

// pages registers the pages of the dashboard and what they are made of.
func (s *Server) pages() {}
