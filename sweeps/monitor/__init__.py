"""Looking at a sweep from another shell or machine: its status, and what failed trials said."""
